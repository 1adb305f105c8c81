// Against a real service: its address is in SAMEFACE_ADDRESS, the folder of the portraits in SAMEFACE_PORTRAITS.
import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { after, test } from "node:test";
import { ConnectError } from "@connectrpc/connect";
import { MAX_PHOTO_BYTES, Outcome, QualityIssueSchema, ThresholdSource, connect, idOf, identityName, reasonOf } from "sameface/node";

const { SAMEFACE_ADDRESS: address, SAMEFACE_PORTRAITS: portraits } = process.env;
const photo = (name) => readFile(`${portraits}/${name}.jpg`);
const sameface = connect({ address });
const gallery = "typescript";

after(async () => {
  await sameface.galleries.deleteGallery({ name: `galleries/${gallery}`, force: true });
  sameface.close();
});

test("a photo enrols, the next one is verified and identified", async () => {
  await sameface.createGallery(gallery);
  const { template } = await sameface.enroll(gallery, "ardern", await photo("jacinda_ardern_2018"), { displayName: "J. A." });
  assert.ok(template.name.startsWith(`${identityName(gallery, "ardern")}/templates/`));

  const { decision, face } = await sameface.verify(gallery, "ardern", await photo("jacinda_ardern_2022"));
  assert.equal(decision.outcome, Outcome.MATCH);
  assert.equal(decision.thresholdSource, ThresholdSource.MODEL_CARD);
  assert.ok(decision.score >= decision.threshold && decision.score < 1);
  assert.equal(face.issues.length, 0);

  const other = await sameface.verify(gallery, "ardern", await photo("rishi_sunak"));
  assert.equal(other.decision.outcome, Outcome.NO_MATCH);

  const { faces } = await sameface.identify(gallery, await photo("jacinda_ardern_2022"), { maxCandidates: 1 });
  assert.equal(faces[0].decision.outcome, Outcome.MATCH);
  assert.deepEqual(
    faces[0].decision.candidates.map((one) => [one.identity, one.displayName]),
    [[identityName(gallery, "ardern"), "J. A."]],
  );
});

test("the same photo again is the same template, as bytes, buffer or blob", async () => {
  const bytes = await photo("jacinda_ardern_2018");
  const buffer = bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.byteLength);
  const names = new Set();
  for (const one of [bytes, new Uint8Array(bytes), buffer, new Blob([bytes])]) {
    names.add((await sameface.enroll(gallery, "ardern", one)).template.name);
  }
  assert.equal(names.size, 1);
});

test("the id of an identity may be any text", async () => {
  for (const id of ["Ada@example.org", "0F8FAD5B-D9CB-469F-A165-70867728950E", "李 四/~%2e", "plain-id_1.2"]) {
    const { name } = await sameface.galleries.createIdentity({ parent: `galleries/${gallery}`, identityId: id });
    assert.equal(name, identityName(gallery, id));
    assert.equal(idOf(name), id);
    await sameface.galleries.deleteIdentity({ name });
  }
  assert.equal(identityName("g", "plain-id_1.2"), "galleries/g/identities/plain-id_1.2");
  for (const id of [null, undefined, 7, "\ud800"]) assert.throws(() => identityName("g", id), TypeError);
});

test("a photo that is too large is not sent", async () => {
  const large = new Uint8Array(MAX_PHOTO_BYTES + 1);
  await assert.rejects(sameface.verify(gallery, "ardern", large), (error) => error instanceof RangeError && /16777217 bytes/.test(error.message));
});

test("a gallery that exists is an error, or returned as it is", async () => {
  await assert.rejects(sameface.createGallery(gallery), (error) => reasonOf(error) === "GALLERY_ALREADY_EXISTS");
  const found = await sameface.createGallery(gallery, { existOk: true, gallery: { displayName: "another" } });
  assert.equal(found.name, `galleries/${gallery}`);
  assert.equal(found.displayName, "");
});

test("errors have a reason", async () => {
  const reasons = [
    [() => sameface.verify(gallery, "nobody", new Uint8Array([1, 2, 3])), "IMAGE_UNDECODABLE"],
    [async () => sameface.verify(gallery, "nobody", await photo("rishi_sunak")), "IDENTITY_NOT_FOUND"],
    [async () => sameface.identify("no-such", await photo("rishi_sunak")), "GALLERY_NOT_FOUND"],
    [async () => sameface.enroll(gallery, "new", await photo("rishi_sunak"), { allowMissing: false }), "IDENTITY_NOT_FOUND"],
  ];
  for (const [call, reason] of reasons) {
    await assert.rejects(call, (error) => error instanceof ConnectError && reasonOf(error) === reason, reason);
  }
});

test("what is no photo is told before anything is sent", async () => {
  for (const [given, said] of [["ada.jpg", /not text; read a file with readFile/], [null, /not null/], [{}, /not object/]]) {
    await assert.rejects(sameface.identify(gallery, given), (error) => error instanceof TypeError && said.test(error.message));
  }
});

test("a stream answers in order, and goes on after a bad photo", async () => {
  const photos = [await photo("jacinda_ardern_2022"), new Uint8Array([0]), await photo("rishi_sunak")];
  async function* requests() {
    yield { settings: { gallery: `galleries/${gallery}` } };
    for (const [number, value] of photos.entries()) {
      yield { tag: `${number}`, sample: { source: { case: "photo", value } } };
    }
  }
  const answers = [];
  for await (const one of sameface.faces.streamIdentifyFaces(requests())) {
    answers.push([one.tag, one.error?.code ?? one.faces[0].decision.outcome]);
  }
  assert.deepEqual(answers, [["0", Outcome.MATCH], ["1", 3], ["2", Outcome.NO_MATCH]]);
});

test("every service is there", async () => {
  assert.match((await sameface.system.getServerInfo({})).version, /^\d+\.\d+/);
  const names = [];
  for (const one of (await sameface.galleries.listIdentities({ parent: `galleries/${gallery}` })).identities) names.push(one.name);
  assert.deepEqual(names, [identityName(gallery, "ardern")]);
  assert.equal(QualityIssueSchema.typeName, "sameface.v1.QualityIssue");
});
