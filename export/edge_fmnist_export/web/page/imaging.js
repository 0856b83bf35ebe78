// The operations of OpenCV that preprocessing uses, with OpenCV's order of operations and rounding, so that masks and
// images equal those of Python. Pictures are flat arrays of rows, channels interleaved. Without dependencies: OpenCV.js
// would add 11 MB to the page.

const { fround } = Math;

export const clamp = (value, low, high) => Math.min(Math.max(value, low), high);

// As Python's round() and NumPy's: halves to even.
export function roundHalfEven(value) {
  const floor = Math.floor(value);
  const rest = value - floor;
  return rest > 0.5 || (rest === 0.5 && floor % 2 !== 0) ? floor + 1 : floor;
}

// Percentiles of a flat float32 array, interpolated linearly.
export function percentiles(values, percents) {
  const ordered = new Float32Array(values).sort();
  return percents.map((percent) => {
    const place = (percent / 100) * (ordered.length - 1);
    const below = Math.floor(place);
    const [low, high] = [ordered[below], ordered[Math.min(below + 1, ordered.length - 1)]];
    const [share, difference] = [place - below, fround(high - low)];
    return share < 0.5 ? low + difference * share : high - difference * (1 - share);
  });
}

// ---------------------------------------------------------------- resizing

const areas = new Map();

// For each target pixel: its first source pixel, and the weights of the source pixels that it covers.
function areaWeights(from, to, whole) {
  const key = `${from} ${to} ${whole}`;
  if (areas.size > 100) areas.clear();
  if (!areas.has(key)) areas.set(key, makeAreaWeights(from, to, whole));
  return areas.get(key);
}

function makeAreaWeights(from, to, whole) {
  const scale = from / to;
  return Array.from({ length: to }, (_, target) => {
    const [left, right] = [target * scale, target * scale + scale];
    if (whole) return { start: left, weights: new Float32Array(scale).fill(1) };
    const cell = Math.min(scale, from - left);
    const last = Math.min(Math.floor(right), from - 1);
    const first = Math.min(Math.ceil(left), last);
    const weights = new Array(last - first).fill(1 / cell);
    const start = first - left > 1e-3 ? first - 1 : first;
    if (start < first) weights.unshift((first - left) / cell);
    if (right - last > 1e-3) weights.push(Math.min(right - last, 1, cell) / cell);
    return { start, weights: Float32Array.from(weights) };
  });
}

// cv2.resize with INTER_AREA, for downscaling: float32, not rounded; the first `channels` of `stride` channels.
export function resizeArea({ data, width, height, stride = 1 }, toWidth, toHeight, channels = stride) {
  // Whole factors: a sum, scaled at the end.
  const whole = width % toWidth === 0 && height % toHeight === 0;
  const [columns, rows] = [areaWeights(width, toWidth, whole), areaWeights(height, toHeight, whole)];
  const scale = whole ? fround((toWidth * toHeight) / (width * height)) : 1;
  const result = new Float32Array(toWidth * toHeight * channels);
  let target = 0;
  for (const { start: top, weights: down } of rows) {
    for (const { start: left, weights: across } of columns) {
      for (let channel = 0; channel < channels; channel++) {
        let sum = 0;
        for (let row = 0; row < down.length; row++) {
          let inRow = 0;
          let place = ((top + row) * width + left) * stride + channel;
          for (let column = 0; column < across.length; column++, place += stride) {
            inRow = fround(inRow + fround(data[place] * across[column]));
          }
          sum = fround(sum + fround(inRow * down[row]));
        }
        result[target++] = sum * scale;
      }
    }
  }
  return result;
}

// The same for bytes with 4 channels, but adds rows first and divides by their number at the end.
export function resizeAreaRowsFirst({ data, width, height }, toWidth, toHeight, channels) {
  const length = 4 * width;
  const pixels = new Int32Array(data.buffer, data.byteOffset, width * height);
  const sums = new Float32Array(length);
  const scale = fround(toHeight / height);
  const result = new Float32Array(toWidth * toHeight * channels);
  for (let row = 0; row < toHeight; row++) {
    const [top, bottom] = [(row * height) / toHeight, ((row + 1) * height) / toHeight];
    const [first, last] = [Math.ceil(top) * width, Math.floor(bottom) * width];
    for (let x = 0, target = 0; x < width; x++, target += 4) {
      // Two channels at once: a sum takes 16 bits at most.
      let even = 0;
      let odd = 0;
      for (let place = first + x; place < last; place += width) {
        even = (even + (pixels[place] & 0xff00ff)) | 0;
        odd = (odd + ((pixels[place] >>> 8) & 0xff00ff)) | 0;
      }
      sums[target] = even & 0xffff;
      sums[target + 1] = odd & 0xffff;
      sums[target + 2] = even >>> 16;
      sums[target + 3] = odd >>> 16;
    }
    // A row on the edge between two sums is divided.
    addShare(sums, data, Math.floor(top) * length, Math.ceil(top) - top);
    addShare(sums, data, Math.floor(bottom) * length, bottom - Math.floor(bottom));
    const line = resizeArea({ data: sums, width, height: 1, stride: 4 }, toWidth, 1, channels);
    for (let i = 0; i < line.length; i++) result[row * line.length + i] = line[i] * scale;
  }
  return result;
}

function addShare(sums, data, source, share) {
  if (share === 0) return;
  const weight = fround(share);
  for (let i = 0; i < sums.length; i++) sums[i] += fround(data[source + i] * weight);
}

// cv2.resize with INTER_LINEAR of a float32 picture with one channel.
export function resizeLinear({ data, width, height }, toWidth, toHeight) {
  const places = (from, to) =>
    Array.from({ length: to }, (_, target) => {
      const place = fround((target + 0.5) * (from / to) - 0.5);
      const first = Math.floor(place);
      if (first < 0 || first >= from - 1) return [clamp(first, 0, from - 1), clamp(first, 0, from - 1), 0];
      return [first, first + 1, fround(place - first)];
    });
  const columns = places(width, toWidth);
  const mix = (a, b, share) => fround(fround(a * fround(1 - share)) + fround(b * share));
  const result = new Float32Array(toWidth * toHeight);
  places(height, toHeight).forEach(([top, bottom, down], y) => {
    columns.forEach(([left, right, across], x) => {
      const upper = mix(data[top * width + left], data[top * width + right], across);
      const lower = mix(data[bottom * width + left], data[bottom * width + right], across);
      result[y * toWidth + x] = mix(upper, lower, down);
    });
  });
  return result;
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

// The same of float32 with one channel.
export function gaussianBlurFloats(picture, sigma) {
  return new Float32Array(separable(picture, gaussianKernel(Math.round(8 * sigma + 1) | 1, sigma).map(fround)));
}

// cv2.blur of float32 with one channel.
export function boxBlur(picture, [width, height]) {
  const box = (size) => new Array((size + 1) / 2).fill(1 / size);
  return new Float32Array(separable(picture, box(width), box(height)));
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
