// Sends recordings, chosen or from the microphone, to the server, which shows what came of them.

const LONGEST_S = 120;

const part = (name) => document.querySelector(`[data-hearing=${name}]`);
const say = (words) => { part("status").textContent = words; };
const complain = (words) => { part("problem").textContent = words; };

function busy(isBusy) {
  for (const name of ["clone", "record"]) part(name).disabled = isBusy;
}

// Posts to this page's inbox; returns why that was refused, or nothing.
async function post(what, query, body) {
  const address = `/hearing/${part("place").dataset.key}/${what}?${new URLSearchParams(query)}`;
  try {
    const answer = await fetch(address, { method: "POST", body });
    return answer.ok ? "" : (await answer.text()).trim();
  } catch (error) {
    return `the server did not answer (${error.message}); see whether it still runs`;
  }
}

async function send(recordings) {
  const { most, tooLarge } = part("place").dataset;
  busy(true);
  complain("");
  const problems = [];
  for (const [index, [name, content]] of recordings.entries()) {
    say(`Sending ${name}, ${index + 1} of ${recordings.length} ...`);
    const why = content.size > +most
      ? `${name}: ${tooLarge}`
      : await post("recording", { name }, content);
    if (why) problems.push(why);
  }
  complain(problems.join("\n"));
  if (problems.length < recordings.length) {
    say("Cloning ...");
    const why = await post("clone", { voice: part("voice").value.trim() });
    complain([...problems, ...(why ? [why] : [])].join("\n"));
  }
  say("");
  busy(false);
}

function sendFiles() {
  const files = [...part("files").files];
  if (files.length === 0) {
    complain("No recording is chosen.");
    return;
  }
  send(files.map((file) => [file.name, file]));
}

// 16-bit mono, as every program reads it.
function wav(pieces, rate) {
  const length = pieces.reduce((sum, piece) => sum + piece.length, 0);
  const view = new DataView(new ArrayBuffer(44 + 2 * length));
  const letters = (at, word) => [...word].forEach((c, i) => view.setUint8(at + i, c.charCodeAt(0)));
  letters(0, "RIFF"); view.setUint32(4, 36 + 2 * length, true); letters(8, "WAVEfmt ");
  view.setUint32(16, 16, true); view.setUint16(20, 1, true); view.setUint16(22, 1, true);
  view.setUint32(24, rate, true); view.setUint32(28, 2 * rate, true);
  view.setUint16(32, 2, true); view.setUint16(34, 16, true);
  letters(36, "data"); view.setUint32(40, 2 * length, true);
  let at = 44;
  for (const piece of pieces) {
    for (const value of piece) {
      view.setInt16(at, Math.round(32767 * Math.max(-1, Math.min(1, value))), true);
      at += 2;
    }
  }
  return new Blob([view], { type: "audio/wav" });
}

let recorder = null;

async function startRecording() {
  // What makes calls clear changes a voice.
  const plain = { echoCancellation: false, noiseSuppression: false, autoGainControl: false };
  const stream = await navigator.mediaDevices.getUserMedia({ audio: { channelCount: 1, ...plain } });
  try {
    await listenTo(stream);
  } catch (error) {
    stream.getTracks().forEach((track) => track.stop());
    throw error;
  }
}

async function listenTo(stream) {
  const context = new AudioContext();
  try {
    await context.audioWorklet.addModule("/hearing/microphone.js");
  } catch (error) {
    await context.close();
    throw error;
  }
  const tap = new AudioWorkletNode(context, "microphone");
  const pieces = [];
  tap.port.onmessage = (event) => pieces.push(event.data);
  context.createMediaStreamSource(stream).connect(tap);
  tap.connect(context.destination); // silent, but without it nothing is taken
  const began = performance.now();
  const clock = setInterval(() => {
    const seconds = (performance.now() - began) / 1000;
    say(`Recording, ${seconds.toFixed(0)} s ...`);
    if (seconds >= LONGEST_S) stopRecording();
  }, 250);
  recorder = { stream, context, pieces, clock };
}

async function stopRecording() {
  const { stream, context, pieces, clock } = recorder;
  recorder = null;
  clearInterval(clock);
  stream.getTracks().forEach((track) => track.stop());
  const rate = context.sampleRate;
  await context.close();
  label("Record");
  const content = wav(pieces, rate);
  const played = part("played");
  URL.revokeObjectURL(played.src);
  played.src = URL.createObjectURL(content);
  played.hidden = false;
  await send([["microphone.wav", content]]);
}

function label(words) {
  part("record").querySelector(".block").textContent = words;
}

async function toggleRecording() {
  if (recorder) {
    await stopRecording();
    return;
  }
  complain("");
  busy(true);
  try {
    await startRecording();
    label("Stop");
    part("record").disabled = false;
  } catch (error) {
    complain(`the microphone cannot be used (${error.message}); allow it for this page, or `
      + "choose a recording");
    busy(false);
  }
}

document.addEventListener("click", (event) => {
  const name = event.target.closest("[data-hearing]")?.dataset.hearing;
  if (name === "clone") sendFiles();
  if (name === "record") toggleRecording();
});
