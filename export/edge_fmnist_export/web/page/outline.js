// Returns the outline of a mask of 0 and 1 as a path in pixels of the mask: marching squares between the centres of
// pixels, each point the average of `smoothing` neighbours.
export function outline(mask, width, height, smoothing) {
  const path = new Path2D();
  const average = (values) => values.reduce((sum, value) => sum + value, 0) / values.length;
  for (const line of closedLines(mask, width, height)) {
    const half = line.length < 2 * smoothing ? 0 : smoothing >> 1;
    line.forEach((_, i) => {
      const near = Array.from({ length: 2 * half + 1 }, (_, k) => line.at((i + k - half) % line.length));
      const point = [average(near.map(([x]) => x)), average(near.map(([, y]) => y))];
      if (i) path.lineTo(...point);
      else path.moveTo(...point);
    });
    path.closePath();
  }
  return path;
}

// The points of each line, with the mask on the right of it.
function closedLines(mask, width, height) {
  const isInside = (x, y) => x >= 0 && y >= 0 && x < width && y < height && mask[y * width + x] > 0;
  const next = new Map();
  for (let y = -1; y < height; y++) {
    for (let x = -1; x < width; x++) {
      // Clockwise: four pixels, and the points between each and the next.
      const inside = [isInside(x, y), isInside(x + 1, y), isInside(x + 1, y + 1), isInside(x, y + 1)];
      if (inside.every((is) => is === inside[0])) continue;
      const points = [[x + 1, y + 0.5], [x + 1.5, y + 1], [x + 1, y + 1.5], [x + 0.5, y + 1]];
      for (let start = 0; start < 4; start++) {
        if (!inside[start] || inside[(start + 1) % 4]) continue;
        let end = (start + 3) % 4;
        while (inside[end]) end = (end + 3) % 4;
        next.set(`${points[start]}`, points[end]);
      }
    }
  }
  const lines = [];
  while (next.size) {
    const line = [];
    for (let [key] = next.keys(); next.has(key); key = `${line.at(-1)}`) {
      line.push(next.get(key));
      next.delete(key);
    }
    lines.push(line);
  }
  return lines;
}
