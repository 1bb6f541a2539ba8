// A frame on a canvas, as large as its box lets it be, with its results drawn on it.

// The same as in pictures that the gateway draws.
const COLOURS = [
  "#e6194b", "#3cb44b", "#ffe119", "#0082c8", "#f58230", "#f032e6", "#46f0f0", "#911eb4",
  "#d2f53c", "#fabed4", "#008080", "#dcbeff", "#aa6e28", "#aaffc3", "#808000", "#ffd7b4",
];
const MOST_BOXES = 300;
const LONGEST_CAPTION = 60;

/** The same for all boxes of a track; of a label where nothing is tracked. */
export function colourOf(detection) {
  if (detection.track_id) return COLOURS[detection.track_id % COLOURS.length];
  let sum = 7;
  for (const byte of new TextEncoder().encode(detection.label)) sum = (Math.imul(sum, 31) + byte) >>> 0;
  return COLOURS[sum % COLOURS.length];
}

export function captionOf(detection) {
  const parts = [detection.label];
  if (detection.track_id) parts.push(`#${detection.track_id}`);
  if (detection.confidence > 0) parts.push(detection.confidence.toFixed(2));
  if (detection.text) parts.push(`"${detection.text}"`);
  return parts.join(" ").slice(0, LONGEST_CAPTION);
}

/** Draws the picture into a box of so many CSS pixels. */
export function draw(canvas, bitmap, head, box, withResults) {
  const scale = Math.min(box.width / bitmap.width, box.height / bitmap.height) || 1;
  const [width, height] = [bitmap.width * scale, bitmap.height * scale];
  const dense = window.devicePixelRatio || 1;
  const pixels = [Math.max(1, Math.round(width * dense)), Math.max(1, Math.round(height * dense))];
  if (canvas.width !== pixels[0] || canvas.height !== pixels[1]) {
    [canvas.width, canvas.height] = pixels;
    canvas.style.width = `${width}px`;
    canvas.style.height = `${height}px`;
  }
  const context = canvas.getContext("2d", { alpha: false });
  context.drawImage(bitmap, 0, 0, pixels[0], pixels[1]);
  if (withResults) results(context, head, pixels, dense);
}

function results(context, head, [width, height], dense) {
  // Boxes count in pixels of the frame, whatever size of it was sent.
  const [across, down] = [width / (head.width || width), height / (head.height || height)];
  const detections = head.results.flatMap((result) => result.detections);
  const size = Math.round(12 * dense);
  context.lineWidth = Math.max(2, Math.round(1.5 * dense));
  context.font = `600 ${size}px system-ui, sans-serif`;
  context.textBaseline = "top";
  const taken = [];
  for (const detection of detections.slice(0, MOST_BOXES)) {
    if (!detection.box) continue;
    const [x, y, w, h] = detection.box;
    const place = [x * across, y * down, w * across, h * down];
    if (!place.every(Number.isFinite)) continue;
    const colour = colourOf(detection);
    context.strokeStyle = colour;
    context.strokeRect(...place);
    const caption = captionOf(detection);
    if (!caption) continue;
    const bar = size * 1.35;
    const wide = context.measureText(caption).width + size * 0.6;
    const at = captionPlace(taken, place, [wide, bar], [width, height]);
    if (!at) continue;
    const [left, top] = at;
    context.fillStyle = colour;
    context.fillRect(left, top, wide, bar);
    context.fillStyle = isBright(colour) ? "#000" : "#fff";
    context.fillText(caption, left + size * 0.3, top + size * 0.18);
  }
}

/**
 * Above the box, else inside it or below it, else near it; in the picture, and on no other caption if there is room. None for
 * a box that is out of the picture.
 */
export function captionPlace(taken, [x, y, w, h], [wide, high], [width, height]) {
  if (x >= width || y >= height || x + w <= 0 || y + h <= 0) return null;
  const left = Math.max(0, Math.min(x, width - wide));
  const tops = [y - high, y, y + h, y - 2 * high, y + high, y + h + high, y - 3 * high, y + 2 * high];
  const inside = tops.map((top) => Math.max(0, Math.min(top, height - high)));
  const isFree = (top) =>
    !taken.some((one) => one.left < left + wide && left < one.right && one.top < top + high && top < one.bottom);
  const top = inside.find(isFree) ?? inside[0];
  taken.push({ left, right: left + wide, top, bottom: top + high });
  return [left, top];
}

function isBright(colour) {
  const [red, green, blue] = [1, 3, 5].map((at) => parseInt(colour.slice(at, at + 2), 16));
  return 3 * red + 6 * green + blue > 1300;
}
