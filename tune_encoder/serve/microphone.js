// Hands on what the microphone hears, in pieces of an eighth of a second at 48 kHz.

const PIECE = 6144; // samples

registerProcessor("microphone", class extends AudioWorkletProcessor {
  constructor() {
    super();
    this.piece = new Float32Array(PIECE);
    this.filled = 0;
  }

  process([input]) {
    const heard = input[0];
    if (!heard) return true;
    if (this.filled + heard.length > PIECE) {
      this.port.postMessage(this.piece.slice(0, this.filled));
      this.filled = 0;
    }
    this.piece.set(heard, this.filled);
    this.filled += heard.length;
    return true;
  }
});
