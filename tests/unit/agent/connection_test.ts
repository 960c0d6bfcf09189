import assert from "node:assert/strict";
import { test } from "node:test";
import { type Bytes, concatBytes, u32be } from "../../../src/bytes.ts";
import { Connection } from "../../../src/agent/connection.ts";
import { encodeFrame, MAX_FRAME_BYTES } from "../../../src/formats/agent_message.ts";
import {
  acceptConnection,
  closeFd,
  connectUnix,
  type Fd,
  listenUnix,
  makePipe,
  receive,
  send,
} from "../../../src/platform/socket.ts";
import { fedConnection, framesOf } from "../../support/agent_connection.ts";
import { temporaryDirectory } from "../../support/temporary_directory.ts";

const REST_BYTES = 4096;
const pattern = (length: number, from = 0) => Uint8Array.from({ length }, (_, i) => from + i * 7 + (i >> 8));
const framed = (payload: Uint8Array) => concatBytes(u32be(payload.length), payload);
const capacityOf = (frame: Uint8Array) => frame.buffer.byteLength;

/** A client's end of a socket, which blocks, and the connection at the other. */
function socketPair(): Disposable & { readonly client: Fd; readonly connection: Connection; leave(): void } {
  using directory = temporaryDirectory();
  const listener = listenUnix(directory.file("s"), 1);
  const client = connectUnix(directory.file("s"));
  const connection = new Connection(acceptConnection(listener)!, null);
  closeFd(listener);
  let isThere = true;
  const leave = () => {
    if (isThere) closeFd(client);
    isThere = false;
  };
  return {
    client,
    connection,
    leave,
    [Symbol.dispose]: () => {
      leave();
      connection.close();
    },
  };
}

function receiveAll(fd: Fd, length: number): Bytes {
  const bytes = new Uint8Array(length);
  for (let at = 0; at < length;) {
    const count = receive(fd, bytes.subarray(at));
    assert.ok(typeof count === "number" && count > 0, `${count} at ${at}`);
    at += count;
  }
  return bytes;
}

test("frames come out whole and in order, wherever they are cut", () => {
  const payloads = [
    pattern(1),
    pattern(3),
    pattern(REST_BYTES - 4),
    pattern(REST_BYTES),
    pattern(9000),
    pattern(2),
  ];
  const all = concatBytes(...payloads.map(framed));
  for (const size of [1, 2, 3, 5, 7, 64, 1000, 4095, 4096, 4097, all.length]) {
    const pieces = Array.from(
      { length: Math.ceil(all.length / size) },
      (_, i) => all.subarray(i * size, (i + 1) * size),
    );
    assert.deepEqual(framesOf(pieces), payloads, `in pieces of ${size}`);
  }
});

test("two pieces give the same frames, whatever the first one is", () => {
  const payloads = [pattern(1), pattern(40, 9), pattern(2)];
  const all = concatBytes(...payloads.map(framed));
  for (let at = 0; at <= all.length; at++) {
    assert.deepEqual(framesOf([all.subarray(0, at), all.subarray(at)]), payloads, `${at}`);
  }
});

test("the longest frame is taken, after another one too", () => {
  const [short, long] = [pattern(10), pattern(MAX_FRAME_BYTES)];
  const all = concatBytes(framed(short), framed(long), framed(short), framed(long));
  assert.deepEqual(framesOf([all]), [short, long, short, long]);
});

for (const length of [0, MAX_FRAME_BYTES + 1, 0x7fffffff, 0x80000000, 0xffffffff]) {
  test(`a frame of ${length} bytes is malformed as soon as its length is known`, () => {
    const frames = framesOf([framed(pattern(3)), u32be(length).subarray(0, 3), u32be(length).subarray(3)]);
    assert.deepEqual(frames, [pattern(3), "malformed"]);
  });
}

test("there is no frame before all of it is there", () => {
  using fed = fedConnection();
  assert.equal(fed.connection.nextFrame(), null);
  assert.equal(fed.connection.fill(), true, "nothing has come");
  for (const byte of framed(pattern(5)).subarray(0, 8)) {
    fed.feed(Uint8Array.of(byte));
    assert.equal(fed.connection.fill(), true);
    assert.equal(fed.connection.nextFrame(), null);
  }
  fed.feed(pattern(5).subarray(4));
  fed.connection.fill();
  assert.deepEqual(fed.connection.nextFrame(), pattern(5));
  assert.equal(fed.connection.nextFrame(), null);
});

test("fill() is false at the end, and what had come before it is still there", () => {
  using fed = fedConnection();
  fed.feed(framed(pattern(5)));
  fed.end();
  assert.equal(fed.connection.fill(), true);
  assert.deepEqual(fed.connection.nextFrame(), pattern(5));
  assert.equal(fed.connection.fill(), false);
});

test("a connection holds little at rest, as much as has come of a large frame, and gives that back", () => {
  const { feed, connection, ...fed } = fedConnection();
  using _fed = fed;
  const take = (payload: Bytes) => {
    for (let rest = framed(payload); rest.length > 0;) {
      rest = rest.subarray(feed(rest));
      connection.fill();
    }
    for (;;) {
      const frame = connection.nextFrame();
      if (frame instanceof Uint8Array) return capacityOf(frame);
      assert.equal(frame, null);
      connection.fill();
    }
  };
  assert.equal(take(pattern(10)), REST_BYTES);
  assert.equal(connection.nextFrame(), null);
  const grown = take(pattern(30_000));
  assert.ok(grown >= 30_004 && grown <= 65_536, `${grown}`);
  assert.equal(connection.nextFrame(), null);
  assert.equal(take(pattern(10)), REST_BYTES);
  assert.equal(connection.nextFrame(), null);
  const most = take(pattern(MAX_FRAME_BYTES));
  assert.ok(most <= 2 * MAX_FRAME_BYTES + 4 * REST_BYTES, `${most}`);
  // A length alone takes no memory.
  assert.equal(connection.nextFrame(), null);
  feed(concatBytes(u32be(MAX_FRAME_BYTES), Uint8Array.of(1)));
  connection.fill();
  assert.equal(connection.nextFrame(), null);
});

test("many frames in a row need no more room than the largest", () => {
  using fed = fedConnection();
  const batch = concatBytes(...Array.from({ length: 33 }, () => framed(pattern(1000))));
  let largest = 0;
  let count = 0;
  for (let round = 0; round < 20; round++) {
    for (let rest = batch; rest.length > 0;) {
      rest = rest.subarray(fed.feed(rest.subarray(0, 3000)));
      for (let turn = 0; turn < 2; turn++) {
        fed.connection.fill();
        for (let frame; (frame = fed.connection.nextFrame()) !== null;) {
          assert.ok(frame instanceof Uint8Array && frame.length === 1000);
          largest = Math.max(largest, capacityOf(frame));
          count++;
        }
      }
    }
  }
  assert.equal(count, 660);
  assert.equal(largest, REST_BYTES);
});

/** Whether something of a secret is left in what a connection had. */
const isWiped = (buffer: ArrayBufferLike) => new Uint8Array(buffer).every((byte) => byte === 0);

test("what a frame held is overwritten when all has been taken, and when the connection is closed", () => {
  for (const isClosed of [false, true]) {
    using fed = fedConnection();
    fed.feed(framed(new Uint8Array(100).fill(0x53)));
    fed.connection.fill();
    const frame = fed.connection.nextFrame() as Uint8Array;
    assert.equal(frame[0], 0x53);
    if (isClosed) fed.connection.close();
    else assert.equal(fed.connection.nextFrame(), null);
    assert.ok(isWiped(frame.buffer), `${isClosed}`);
  }
});

test("what a frame held is overwritten where it has been moved, too", () => {
  using fed = fedConnection();
  const secret = new Uint8Array(1200).fill(0x53);
  // The first fill ends in the midst of the secret, which is moved to the front then.
  fed.feed(concatBytes(framed(pattern(3000)), framed(secret)));
  fed.connection.fill();
  assert.ok(fed.connection.nextFrame() instanceof Uint8Array);
  assert.equal(fed.connection.nextFrame(), null);
  fed.connection.fill();
  const frame = fed.connection.nextFrame() as Uint8Array;
  assert.deepEqual(frame, secret);
  assert.equal(capacityOf(frame), REST_BYTES);
  assert.equal(fed.connection.nextFrame(), null);
  assert.ok(isWiped(frame.buffer));
});

test("what a frame held is overwritten where it was before the connection needed more room", () => {
  using fed = fedConnection();
  const secret = new Uint8Array(6000).fill(0x53);
  // A view into the first buffer, from a frame that came before.
  fed.feed(framed(pattern(1)));
  fed.connection.fill();
  const { buffer } = fed.connection.nextFrame() as Uint8Array;
  assert.equal(fed.connection.nextFrame(), null);
  fed.feed(framed(secret));
  fed.connection.fill();
  assert.ok(!isWiped(buffer));
  fed.connection.fill();
  assert.deepEqual(fed.connection.nextFrame(), secret);
  assert.ok(isWiped(buffer));
});

test("answers go out in order", () => {
  using pair = socketPair();
  assert.equal(pair.connection.flush(), true, "nothing to send");
  for (const type of [1, 2, 3]) pair.connection.reply(encodeFrame(type, pattern(type)));
  assert.equal(pair.connection.isBlocked, false);
  assert.equal(pair.connection.flush(), true);
  const all = concatBytes(...[1, 2, 3].map((type) => encodeFrame(type, pattern(type))));
  assert.deepEqual(receiveAll(pair.client, all.length), all);
  pair.connection.reply(encodeFrame(4));
  pair.connection.flush();
  assert.deepEqual(receiveAll(pair.client, 5), encodeFrame(4));
});

test("answers that a client does not read wait, and go on where they were cut", () => {
  using pair = socketPair();
  const answers = Array.from({ length: 60 }, (_, index) => encodeFrame(index, pattern(20_000, index)));
  for (const [index, answer] of answers.entries()) {
    pair.connection.reply(answer);
    if (index % 7 === 0) assert.equal(pair.connection.flush(), true);
  }
  assert.equal(pair.connection.flush(), true);
  assert.equal(pair.connection.isBlocked, true);
  const all = concatBytes(...answers);
  for (let at = 0; at < all.length;) {
    const length = Math.min(10_000, all.length - at);
    assert.deepEqual(receiveAll(pair.client, length), all.slice(at, at + length), `${at}`);
    at += length;
    assert.equal(pair.connection.flush(), true);
  }
  assert.equal(pair.connection.isBlocked, false);
});

test("flush() is false when the client is gone", () => {
  using pair = socketPair();
  pair.leave();
  pair.connection.reply(encodeFrame(5));
  assert.equal(pair.connection.flush(), false);
});

test("a closed connection takes no more answers, and closing it again closes nothing else", () => {
  using pair = socketPair();
  const { fd } = pair.connection;
  assert.equal(pair.connection.isClosed, false);
  pair.connection.close();
  assert.equal(pair.connection.isClosed, true);
  // The lowest free number is given first.
  const pipe = makePipe();
  try {
    assert.ok([pipe.read, pipe.write].includes(fd));
    pair.connection.close();
    assert.equal(send(pipe.write, Uint8Array.of(1)), 1);
    assert.equal(receive(pipe.read, new Uint8Array(4)), 1);
    pair.connection.reply(encodeFrame(5));
    assert.equal(pair.connection.flush(), true);
    assert.equal(receive(pipe.read, new Uint8Array(4)), "later");
  } finally {
    closeFd(pipe.read);
    closeFd(pipe.write);
  }
});
