// Colours by number, as gsam's pictures have them: OKLCh, each hue in a gap of those before.

const GOLDEN = 0.381966;
const LIGHT = [0.64, 0.71, 0.78];
const known = new Map();

// The colour of a label: [r, g, b], the same as long as the page is open.
export function colourOf(label) {
  if (!known.has(label)) known.set(label, numbered(known.size));
  return known.get(label);
}

export const forgetColours = () => known.clear();
export const css = ([r, g, b], alpha = 1) => `rgb(${r} ${g} ${b} / ${alpha})`;

// Dark or white letters, whichever can be read better.
export function lettersOn(ground) {
  const light = luminance(ground) + 0.05;
  return light / 0.0593 > 1.05 / light ? '#18181b' : '#ffffff';
}

function numbered(i) {
  for (let chroma = 0.22; ; chroma -= 0.02) {
    const linear = fromOklch(LIGHT[i % 3], chroma, 2 * Math.PI * ((0.07 + i * GOLDEN) % 1));
    if (chroma < 0.09 || linear.every((v) => v > -0.002 && v < 1.002)) {
      return linear.map((v) => Math.round(255 * gamma(Math.min(1, Math.max(0, v)))));
    }
  }
}

function fromOklch(light, chroma, hue) {
  const a = chroma * Math.cos(hue);
  const b = chroma * Math.sin(hue);
  const l = (light + 0.3963377774 * a + 0.2158037573 * b) ** 3;
  const m = (light - 0.1055613458 * a - 0.0638541728 * b) ** 3;
  const s = (light - 0.0894841775 * a - 1.291485548 * b) ** 3;
  return [
    4.0767416621 * l - 3.3077115913 * m + 0.2309699292 * s,
    -1.2684380046 * l + 2.6097574011 * m - 0.3413193965 * s,
    -0.0041960863 * l - 0.7034186147 * m + 1.707614701 * s,
  ];
}

const gamma = (v) => (v <= 0.0031308 ? 12.92 * v : 1.055 * v ** (1 / 2.4) - 0.055);

function luminance(colour) {
  const [r, g, b] = colour.map((v) => v / 255).map((v) => (v <= 0.0405 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4));
  return 0.2126 * r + 0.7152 * g + 0.0722 * b;
}
