// A mask: the part of the picture in which it lies, painted, outlined, and written as run lengths.

export class Mask {
  // on: 0 or 1 for each pixel of the part at x, y of size w x h.
  constructor(on, x, y, w, h) {
    Object.assign(this, { on, x, y, w, h });
  }

  // Of an answer with masks as png; null where it has none.
  static async of({ png, png_box: box }) {
    if (!png) return null;
    const bytes = Uint8Array.from(atob(png), (letter) => letter.charCodeAt(0));
    const bitmap = await createImageBitmap(new Blob([bytes], { type: 'image/png' }));
    const [w, h] = [bitmap.width, bitmap.height];
    const context = sheet(w, h).getContext('2d', { willReadFrequently: true });
    context.drawImage(bitmap, 0, 0);
    bitmap.close();
    const { data } = context.getImageData(0, 0, w, h);
    const on = new Uint8Array(w * h);
    for (let i = 0; i < on.length; i++) on[i] = data[4 * i + 3] > 127 ? 1 : 0;
    return new Mask(on, box[0], box[1], w, h);
  }

  has(x, y) {
    const [i, j] = [Math.floor(x) - this.x, Math.floor(y) - this.y];
    return i >= 0 && j >= 0 && i < this.w && j < this.h && this.on[j * this.w + i] === 1;
  }

  // The mask in one colour, as something to draw.
  painted([r, g, b]) {
    const name = `${r},${g},${b}`;
    if (this.paint?.name !== name) {
      const canvas = sheet(this.w, this.h);
      const context = canvas.getContext('2d');
      const image = context.createImageData(this.w, this.h);
      const ink = new Uint32Array(image.data.buffer);
      const value = new Uint32Array(new Uint8Array([r, g, b, 255]).buffer)[0];
      for (let i = 0; i < ink.length; i++) if (this.on[i]) ink[i] = value;
      context.putImageData(image, 0, 0);
      this.paint = { name, canvas };
    }
    return this.paint.canvas;
  }

  // Its edge in the picture's coordinates: marching squares over the centres of pixels.
  get outline() {
    this.edge ??= edgeOf(this);
    return this.edge;
  }

  // COCO's run lengths for a picture of this size: down the columns, first the pixels that are not mask.
  rle(width, height) {
    const runs = [];
    let done = 0;
    for (let i = 0; i < this.w; i++) {
      for (let j = 0; j < this.h; j++) {
        if (!this.on[j * this.w + i]) continue;
        const start = (this.x + i) * height + this.y + j;
        if (start === done && runs.length) runs[runs.length - 1] += 1;
        else runs.push(start - done, 1);
        done = start + 1;
      }
    }
    if (done < width * height) runs.push(width * height - done);
    return { size: [height, width], counts: packed(runs) };
  }
}

export function sheet(w, h) {
  const canvas = document.createElement('canvas');
  canvas.width = w;
  canvas.height = h;
  return canvas;
}

// Numbers as COCO's text: each less the one two before, five bits a letter, lowest first.
function packed(runs) {
  let text = '';
  for (let i = 0; i < runs.length; i++) {
    let left = i > 2 ? runs[i] - runs[i - 2] : runs[i];
    for (let more = true; more;) {
      let bits = left & 31;
      left >>= 5;
      more = bits & 16 ? left !== -1 : left !== 0;
      if (more) bits |= 32;
      text += String.fromCharCode(48 + bits);
    }
  }
  return text;
}

// From which side of a square of four pixels (top left 1, top right 2, bottom right 4, bottom left 8)
// to which the edge goes; sides: 0 top, 1 right, 2 bottom, 3 left.
const CROSSES = [
  [], [[3, 0]], [[0, 1]], [[3, 1]], [[1, 2]], [[3, 0], [1, 2]], [[0, 2]], [[3, 2]],
  [[2, 3]], [[2, 0]], [[0, 1], [2, 3]], [[2, 1]], [[1, 3]], [[1, 0]], [[0, 3]], [],
];
const SIDES = [[0.5, 0], [1, 0.5], [0.5, 1], [0, 0.5]];

function edgeOf({ on, x, y, w, h }) {
  const path = new Path2D();
  const at = (i, j) => (i >= 0 && j >= 0 && i < w && j < h ? on[j * w + i] : 0);
  for (let j = -1; j < h; j++) {
    for (let i = -1; i < w; i++) {
      const kind = at(i, j) + 2 * at(i + 1, j) + 4 * at(i + 1, j + 1) + 8 * at(i, j + 1);
      for (const [from, to] of CROSSES[kind]) {
        path.moveTo(x + i + 0.5 + SIDES[from][0], y + j + 0.5 + SIDES[from][1]);
        path.lineTo(x + i + 0.5 + SIDES[to][0], y + j + 0.5 + SIDES[to][1]);
      }
    }
  }
  return path;
}
