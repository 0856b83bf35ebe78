// The operations of OpenCV that preprocessing uses, with OpenCV's rounding, so that masks and images equal those of
// Python. Pictures are flat arrays of rows, channels interleaved. Without dependencies: OpenCV.js
// would add 11 MB to the page.

const { fround } = Math;

export const clamp = (value, low, high) => Math.min(Math.max(value, low), high);

// As Python's round() and NumPy's: halves to even.
export function roundHalfEven(value) {
  const floor = Math.floor(value);
  const rest = value - floor;
  return rest > 0.5 || (rest === 0.5 && floor % 2 !== 0) ? floor + 1 : floor;
}

// A percentile of a flat sorted array, interpolated linearly.
export function percentile(ordered, percent) {
  const place = (percent / 100) * (ordered.length - 1);
  const below = Math.floor(place);
  const [low, high] = [ordered[below], ordered[Math.min(below + 1, ordered.length - 1)]];
  return low + (high - low) * (place - below);
}

// ---------------------------------------------------------------- resizing

const greatestCommonDivisor = (a, b) => (b ? greatestCommonDivisor(b, a % b) : a);

// For each target pixel: its first source pixel, and how often it counts each of the source pixels that it covers; in
// whole numbers that sum to `length`.
function areaSpans(from, to) {
  const divisor = greatestCommonDivisor(from, to);
  const [length, parts] = [from / divisor, to / divisor];
  const spans = Array.from({ length: to }, (_, target) => {
    const [left, right] = [target * length, (target + 1) * length];
    const start = Math.floor(left / parts);
    const counts = Array.from({ length: Math.ceil(right / parts) - start }, (_, i) => {
      const edge = (start + i) * parts;
      return Math.min(right, edge + parts) - Math.max(left, edge);
    });
    return { start, counts };
  });
  return { spans, length, parts };
}

// The sums of the pixels under each pixel of a smaller picture, and the divisor that makes them means: whole numbers, as
// in Python. Of the first `channels` of `stride` channels.
export function areaSums({ data, width, height, stride = 1 }, toWidth, toHeight, channels = stride) {
  const [columns, rows] = [areaSpans(width, toWidth), areaSpans(height, toHeight)];
  const line = new Float64Array(width * stride);
  const addRow = data instanceof Uint8ClampedArray && stride === 4 ? packedRows(data, width) : plainRows(data, line.length);
  const sums = new Float64Array(toWidth * toHeight * channels);
  let target = 0;
  for (const { start: top, counts: down } of rows.spans) {
    addRow(line, top, down, rows.parts);
    for (const { start: left, counts: across } of columns.spans) {
      for (let channel = 0; channel < channels; channel++) {
        let sum = 0;
        let place = left * stride + channel;
        for (let i = 0; i < across.length; i++, place += stride) sum += line[place] * across[i];
        sums[target++] = sum;
      }
    }
  }
  return { sums, area: columns.length * rows.length };
}

// Returns a function that sums rows, each as often as it counts.
function plainRows(data, length) {
  return (line, top, counts) => {
    line.fill(0);
    counts.forEach((count, row) => addTimes(line, data, (top + row) * length, count));
  };
}

// The same for bytes with 4 channels: adds two channels at once where rows count alike. A sum takes 16 bits at most.
function packedRows(data, width) {
  const pixels = new Int32Array(data.buffer, data.byteOffset, data.length / 4);
  return (line, top, counts, parts) => {
    const [first, last] = [counts[0] < parts ? 1 : 0, counts.at(-1) < parts ? counts.length - 1 : counts.length];
    for (let x = 0, target = 0; x < width; x++, target += 4) {
      let even = 0;
      let odd = 0;
      for (let row = first; row < last; row++) {
        const pixel = pixels[(top + row) * width + x];
        even = (even + (pixel & 0xff00ff)) | 0;
        odd = (odd + ((pixel >>> 8) & 0xff00ff)) | 0;
      }
      line[target] = (even & 0xffff) * parts;
      line[target + 1] = (odd & 0xffff) * parts;
      line[target + 2] = (even >>> 16) * parts;
      line[target + 3] = (odd >>> 16) * parts;
    }
    for (const row of new Set([0, counts.length - 1])) {
      if (row < first || row >= last) addTimes(line, data, (top + row) * line.length, counts[row]);
    }
  };
}

function addTimes(line, data, start, count) {
  for (let i = 0; i < line.length; i++) line[i] += data[start + i] * count;
}

// A picture downscaled: each pixel is a mean.
export function resizeArea(picture, toWidth, toHeight, channels) {
  const { sums, area } = areaSums(picture, toWidth, toHeight, channels);
  const half = Math.floor(area / 2);
  return Uint8Array.from(sums, (sum) => Math.floor((sum + half) / area));
}

// The same as areaSums for an enlarged picture, interpolated linearly.
export function linearSums({ data, width, height, stride = 1 }, toWidth, toHeight) {
  // The first of two source pixels and how often the second counts, of 2 * `to`.
  const places = (from, to) =>
    Array.from({ length: to }, (_, target) => {
      const place = clamp((2 * target + 1) * from - to, 0, 2 * to * (from - 1));
      const first = Math.min(Math.floor(place / (2 * to)), Math.max(0, from - 2));
      return [first, Math.min(first + 1, from - 1), place - 2 * to * first];
    });
  const columns = places(width, toWidth);
  const sums = new Float64Array(toWidth * toHeight * stride);
  let target = 0;
  for (const [top, bottom, down] of places(height, toHeight)) {
    for (const [left, right, across] of columns) {
      for (let channel = 0; channel < stride; channel++) {
        const mix = (row) => {
          const [one, other] = [left, right].map((column) => data[(row * width + column) * stride + channel]);
          return one * (2 * toWidth - across) + other * across;
        };
        sums[target++] = mix(top) * (2 * toHeight - down) + mix(bottom) * down;
      }
    }
  }
  return { sums, area: 4 * toWidth * toHeight };
}

// ---------------------------------------------------------------- filters

// Index of a pixel beyond the border, mirrored without repeating the border pixel.
function reflect(index, size) {
  if (size === 1) return 0;
  while (index < 0 || index >= size) index = index < 0 ? -index : 2 * size - 2 - index;
  return index;
}

// Applies symmetric kernels of odd length, given from their middle on, along the rows and down the columns; float64.
function separable({ data, width, height, stride = 1 }, across, down = across) {
  const length = width * stride;
  const margin = (across.length - 1) * stride;
  const source = new Float64Array(data);
  const result = new Float64Array(source.length);
  const line = new Float64Array(length + 2 * margin);
  const middle = line.subarray(margin, margin + length);
  for (let start = 0, y = 0; y < height; start += length, y++) {
    for (let i = 0; i < length; i++) middle[i] = down[0] * source[start + i];
    for (let k = 1; k < down.length; k++) {
      const [above, below, weight] = [reflect(y - k, height) * length, reflect(y + k, height) * length, down[k]];
      for (let i = 0; i < length; i++) middle[i] += weight * (source[above + i] + source[below + i]);
    }
    for (let k = 1; k < across.length; k++) {
      const [left, right] = [reflect(-k, width) * stride, reflect(width - 1 + k, width) * stride];
      line.set(middle.subarray(left, left + stride), margin - k * stride);
      line.set(middle.subarray(right, right + stride), margin + length + (k - 1) * stride);
    }
    for (let i = 0; i < length; i++) {
      let sum = across[0] * middle[i];
      for (let k = 1, away = stride; k < across.length; k++, away += stride) {
        sum += across[k] * (line[margin + i - away] + line[margin + i + away]);
      }
      result[start + i] = sum;
    }
  }
  return result;
}

// From the middle on.
function gaussianKernel(size, sigma) {
  const values = Array.from({ length: (size + 1) / 2 }, (_, i) => Math.exp((-i * i) / (2 * sigma * sigma)));
  const total = values.reduce((sum, value) => sum + 2 * value, -values[0]);
  return values.map((value) => value / total);
}

// cv2.GaussianBlur of uint8, which computes in fixed point with 8 fractional bits.
export function gaussianBlurBytes(picture, sigma) {
  const kernel = gaussianKernel(Math.round(6 * sigma + 1) | 1, sigma).map((weight) => Math.round(256 * weight));
  kernel[0] += 256 + kernel[0] - kernel.reduce((sum, weight) => sum + 2 * weight, 0);
  const sums = separable(picture, kernel);
  const result = new Uint8Array(sums.length);
  for (let i = 0; i < sums.length; i++) result[i] = (sums[i] + 32768) >> 16;
  return result;
}

// Sums over a square of pixels.
export function boxSums(picture, size) {
  return separable(picture, new Array((size + 1) / 2).fill(1));
}

// ---------------------------------------------------------------- colours

// cv2.cvtColor with COLOR_BGR2GRAY for one pixel, in fixed point.
export const grey = (red, green, blue) => (red * 9798 + green * 19235 + blue * 3735 + 16384) >> 15;

// Tables of cv2.cvtColor with COLOR_BGR2LAB, in fixed point: sRGB to linear light with 3 more bits; cube root with 15.
const LINEAR = Uint16Array.from({ length: 256 }, (_, value) => {
  const share = fround(value / 255);
  return roundHalfEven(2040 * fround(share <= 0.04045 ? share / 12.92 : ((share + 0.055) / 1.055) ** 2.4));
});
const CUBE_ROOT = Uint16Array.from({ length: 3072 }, (_, value) => {
  const share = fround(fround(1 / 2040) * value);
  const isDark = share < 216 / 24389;
  return roundHalfEven(32768 * fround(isDark ? share * fround(841 / 108) + fround(16 / 116) : Math.cbrt(share)));
});
// OpenCV approximates the cube root by a polynomial, which here rounds the other way.
CUBE_ROOT[324] -= 1;
// sRGB to XYZ (D65), each row divided by the white point, with 12 fractional bits.
const XYZ = [[0.412453, 0.35758, 0.180423], [0.212671, 0.71516, 0.072169], [0.019334, 0.119193, 0.950227]];
const WHITE = [0.950456, 1, 1.088754];
const XYZ_FIXED = XYZ.map((row, i) => row.map((value) => Math.round((4096 * value) / WHITE[i])));

const root = (red, green, blue, row) => CUBE_ROOT[(red * row[0] + green * row[1] + blue * row[2] + 2048) >> 12];

// cv2.cvtColor with COLOR_BGR2LAB of uint8; takes RGB.
export function rgbToLab(data) {
  const result = new Uint8ClampedArray(data.length);
  const [toX, toY, toZ] = XYZ_FIXED;
  for (let i = 0; i < data.length; i += 3) {
    const red = LINEAR[data[i]];
    const green = LINEAR[data[i + 1]];
    const blue = LINEAR[data[i + 2]];
    const y = root(red, green, blue, toY);
    result[i] = (296 * y - 1336934 + 16384) >> 15;
    result[i + 1] = (500 * (root(red, green, blue, toX) - y) + (128 << 15) + 16384) >> 15;
    result[i + 2] = (200 * (y - root(red, green, blue, toZ)) + (128 << 15) + 16384) >> 15;
  }
  return result;
}

// ---------------------------------------------------------------- masks

// cv2.morphologyEx with MORPH_OPEN and a cross of 3 x 3 pixels, of a mask of 0 and 1.
export function open(mask, width, height) {
  // Spreads the pixels of a value to their neighbours.
  const spread = (source, value) => {
    const result = Uint8Array.from(source);
    for (let i = 0, x = 0; i < source.length; i++, x = (x + 1) % width) {
      if (source[i] !== value) continue;
      if (x > 0) result[i - 1] = value;
      if (x < width - 1) result[i + 1] = value;
      if (i >= width) result[i - width] = value;
      if (i + width < result.length) result[i + width] = value;
    }
    return result;
  };
  return spread(spread(mask, 0), 1);
}

// cv2.connectedComponentsWithStats with connectivity 4 of the pixels whose value is `wanted`.
export function components(mask, width, height, wanted) {
  const parts = new Int32Array(mask.length).fill(-1);
  const found = [];
  const stack = [];
  for (let seed = 0; seed < mask.length; seed++) {
    if (mask[seed] !== wanted || parts[seed] >= 0) continue;
    const part = { area: 0, sumX: 0, sumY: 0, left: width, right: 0, top: height, bottom: 0 };
    const visit = (place) => {
      if (mask[place] !== wanted || parts[place] >= 0) return;
      parts[place] = found.length;
      stack.push(place);
    };
    visit(seed);
    while (stack.length) {
      const place = stack.pop();
      const x = place % width;
      const y = (place - x) / width;
      part.area += 1;
      part.sumX += x;
      part.sumY += y;
      part.left = Math.min(part.left, x);
      part.right = Math.max(part.right, x);
      part.top = Math.min(part.top, y);
      part.bottom = Math.max(part.bottom, y);
      if (x > 0) visit(place - 1);
      if (x < width - 1) visit(place + 1);
      if (y > 0) visit(place - width);
      if (y < height - 1) visit(place + width);
    }
    found.push(part);
  }
  return { parts, found };
}
