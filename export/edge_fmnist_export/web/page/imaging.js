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

// Two percentiles of a flat array, interpolated linearly.
export function percentiles(values, percents) {
  const ordered = Float32Array.from(values).sort();
  return percents.map((percent) => {
    const place = (percent / 100) * (ordered.length - 1);
    const below = Math.floor(place);
    const [low, high] = [ordered[below], ordered[Math.min(below + 1, ordered.length - 1)]];
    const [share, difference] = [place - below, fround(high - low)];
    return share < 0.5 ? low + difference * share : high - difference * (1 - share);
  });
}

// ---------------------------------------------------------------- resizing

// For each target pixel: its first source pixel, and the weights of the source pixels that it covers.
function areaWeights(from, to, whole) {
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
  const result = new Float32Array(toWidth * toHeight * channels);
  if (channels === 3) sumColours(data, width * stride, stride, columns, rows, result);
  else for (let i = 0; i < channels; i++) sumChannel(data, width * stride, stride, columns, rows, result, i, channels);
  const scale = fround((toWidth * toHeight) / (width * height));
  return whole ? result.map((sum) => sum * scale) : result;
}

function sumChannel(data, rowLength, stride, columns, rows, result, channel, channels) {
  let target = channel;
  for (const { start: top, weights: rowWeights } of rows) {
    for (const { start: left, weights } of columns) {
      let sum = 0;
      for (let row = 0; row < rowWeights.length; row++) {
        let across = 0;
        let place = (top + row) * rowLength + left * stride + channel;
        for (let column = 0; column < weights.length; column++, place += stride) {
          across = fround(across + fround(data[place] * weights[column]));
        }
        sum = fround(sum + fround(across * rowWeights[row]));
      }
      result[target] = sum;
      target += channels;
    }
  }
}

// The same for three channels at once. A quarter of the time of a frame goes here, and one by one would take longer.
function sumColours(data, rowLength, stride, columns, rows, result) {
  let target = 0;
  for (const { start: top, weights: rowWeights } of rows) {
    for (const { start: left, weights } of columns) {
      let [red, green, blue] = [0, 0, 0];
      for (let row = 0; row < rowWeights.length; row++) {
        let a = 0;
        let b = 0;
        let c = 0;
        let place = (top + row) * rowLength + left * stride;
        for (let column = 0; column < weights.length; column++, place += stride) {
          const weight = weights[column];
          a = fround(a + fround(data[place] * weight));
          b = fround(b + fround(data[place + 1] * weight));
          c = fround(c + fround(data[place + 2] * weight));
        }
        red = fround(red + fround(a * rowWeights[row]));
        green = fround(green + fround(b * rowWeights[row]));
        blue = fround(blue + fround(c * rowWeights[row]));
      }
      result[target++] = red;
      result[target++] = green;
      result[target++] = blue;
    }
  }
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

// Applies a symmetric kernel down the columns of float64 values.
function filterColumns({ data, width, height, stride }, kernel) {
  const radius = kernel.length >> 1;
  const length = width * stride;
  const result = new Float64Array(data.length);
  for (let y = 0; y < height; y++) {
    const target = y * length;
    for (let k = 0; k < kernel.length; k++) {
      const weight = kernel[k];
      const start = reflect(y + k - radius, height) * length;
      for (let i = 0; i < length; i++) result[target + i] += weight * data[start + i];
    }
  }
  return { data: result, width, height, stride };
}

function transposed({ data, width, height, stride }) {
  const result = new Float64Array(data.length);
  for (let y = 0, source = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      const target = (x * height + y) * stride;
      for (let channel = 0; channel < stride; channel++) result[target + channel] = data[source++];
    }
  }
  return { data: result, width: height, height: width, stride };
}

// Applies a symmetric kernel in both directions.
function separable({ data, width, height, stride = 1 }, kernel) {
  const turned = transposed(filterColumns({ data: new Float64Array(data), width, height, stride }, kernel));
  return transposed(filterColumns(turned, kernel)).data;
}

function gaussianKernel(size, sigma) {
  const values = Array.from({ length: size }, (_, i) => Math.exp(-((i - (size - 1) / 2) ** 2) / (2 * sigma * sigma)));
  const total = values.reduce((sum, value) => sum + value, 0);
  return values.map((value) => value / total);
}

// cv2.GaussianBlur of uint8, which computes in fixed point with 8 fractional bits.
export function gaussianBlurBytes(picture, sigma) {
  const kernel = gaussianKernel(Math.round(6 * sigma + 1) | 1, sigma).map((weight) => Math.round(256 * weight));
  kernel[kernel.length >> 1] += 256 - kernel.reduce((sum, weight) => sum + weight, 0);
  return new Uint8Array(separable(picture, kernel).map((value) => (value + 32768) >> 16));
}

// The same of float32 with one channel.
export function gaussianBlurFloats(picture, sigma) {
  const kernel = gaussianKernel(Math.round(8 * sigma + 1) | 1, sigma).map(fround);
  return new Float32Array(separable(picture, kernel));
}

// cv2.blur of float32 with one channel, by running sums.
export function boxBlur({ data, width, height }, [across, down]) {
  const pass = (source, length, step, lines, lineStep, size) => {
    const radius = size >> 1;
    const result = new Float64Array(source.length);
    for (let line = 0; line < lines; line++) {
      const start = line * lineStep;
      let sum = 0;
      for (let k = -radius; k <= radius; k++) sum += source[start + reflect(k, length) * step];
      for (let i = 0; i < length; i++) {
        result[start + i * step] = sum;
        sum += source[start + reflect(i + radius + 1, length) * step];
        sum -= source[start + reflect(i - radius, length) * step];
      }
    }
    return result;
  };
  const sums = pass(pass(data, width, 1, height, width, across), height, width, width, 1, down);
  const scale = 1 / (across * down);
  return new Float32Array(sums.map((sum) => sum * scale));
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
