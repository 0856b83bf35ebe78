// Returns the outline of a mask of 0 and 1, in pixels of the mask: marching squares between the centres of its pixels.
export function outline(mask, width, height) {
  const path = new Path2D();
  const at = (x, y) => x >= 0 && y >= 0 && x < width && y < height && mask[y * width + x] > 0;
  for (let y = -1; y < height; y++) {
    for (let x = -1; x < width; x++) {
      const [a, b, c, d] = [at(x, y), at(x + 1, y), at(x, y + 1), at(x + 1, y + 1)];
      if (a === b && a === c && a === d) continue;
      const points = [];
      if (a !== b) points.push([x + 1, y + 0.5]);
      if (b !== d) points.push([x + 1.5, y + 1]);
      if (c !== d) points.push([x + 1, y + 1.5]);
      if (a !== c) points.push([x + 0.5, y + 1]);
      for (let i = 0; i < points.length; i += 2) {
        path.moveTo(...points[i]);
        path.lineTo(...points[i + 1]);
      }
    }
  }
  return path;
}
