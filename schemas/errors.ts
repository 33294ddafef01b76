/**
 * The base of every error Spanway throws on purpose. `code` is stable and may be matched on; `context` holds
 * the ids, keys and limits that a reader of a log line needs. The text says what to do about it.
 */
export class SpanwayError extends Error {
  override readonly name: string = 'SpanwayError';
  readonly code: string;
  readonly context: Readonly<Record<string, unknown>>;

  constructor(code: string, message: string, options: { context?: Record<string, unknown>; cause?: unknown } = {}) {
    super(message, 'cause' in options ? { cause: options.cause } : undefined);
    this.code = code;
    this.context = options.context ?? {};
  }
}

/** A resource file, or the set of resource files, that cannot be used as it stands. */
export class ResourceDefinitionError extends SpanwayError {
  override readonly name = 'ResourceDefinitionError';
  constructor(message: string, options: { context?: Record<string, unknown>; cause?: unknown } = {}) {
    super('resource_definition', message, options);
  }
}

/** One field of a request that breaks a rule. `pointer` is a JSON Pointer (RFC 6901) into the body. */
export interface FieldProblem {
  readonly pointer: string;
  readonly rule: string;
  readonly message: string;
}

/** Problems that are told of one body; the text counts the others. */
const MAX_PROBLEMS = 50;

/** A value that does not fit its resource's schema: every field that is wrong, and by which rule. */
export class ValidationError extends SpanwayError {
  override readonly name = 'ValidationError';
  readonly problems: readonly FieldProblem[];
  constructor(problems: readonly FieldProblem[]) {
    const [first] = problems;
    const others = problems.length > 1 ? `, and ${problems.length - 1} more` : '';
    super('validation', `${first?.pointer || '(body)'}: ${first?.message ?? 'is not valid'}${others}`);
    this.problems = problems.slice(0, MAX_PROBLEMS);
  }
}

/** A pack or an envelope that is not what its format says, or whose signature fails. */
export class PackError extends SpanwayError {
  override readonly name = 'PackError';
}
