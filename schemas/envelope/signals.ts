/** The cache channel on which the applier says that a submission has its outcome. */
export function outcomeChannel(submissionId: string): string {
  return `outcome:${submissionId}`;
}
