// Enrols one photo and verifies another: node verify.js ADDRESS GALLERY IDENTITY REFERENCE PROBE
// The exit codes are those of the command line: 0 match, 1 no match, 2 ambiguous, 3 error.
import { readFile } from "node:fs/promises";
import { Outcome, connect, reasonOf } from "sameface/node";

const [address, gallery, identity, reference, probe] = process.argv.slice(2);
if (!probe) {
  console.error("usage: node verify.js ADDRESS GALLERY IDENTITY REFERENCE PROBE");
  process.exit(3);
}
try {
  const sameface = connect({ address });
  await sameface.createGallery(gallery, { existOk: true });
  await sameface.enroll(gallery, identity, await readFile(reference));
  const { decision } = await sameface.verify(gallery, identity, await readFile(probe));
  console.log(`${Outcome[decision.outcome]}: score ${decision.score?.toFixed(3)}, threshold ${decision.threshold.toFixed(3)}`);
  process.exitCode = { [Outcome.MATCH]: 0, [Outcome.NO_MATCH]: 1, [Outcome.AMBIGUOUS]: 2 }[decision.outcome];
} catch (error) {
  console.error(`${reasonOf(error) ?? "ERROR"}: ${error.rawMessage ?? error.message}`);
  process.exitCode = 3;
}
