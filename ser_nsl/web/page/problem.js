/** Something that went wrong, in words for the person before the page. */
export class Problem extends Error {
  constructor(message, cause) {
    super(message, { cause });
  }
}
