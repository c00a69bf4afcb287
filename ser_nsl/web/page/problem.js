/** An error whose message is shown to the user. */
export class Problem extends Error {
  constructor(message, cause) {
    super(message, { cause });
  }
}
