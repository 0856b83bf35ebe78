// Copies the arrays of the fixtures out of their file; offsets and lengths are in fixtures.json.
export function readFixtures(description, content) {
  const bytes = (entry) => new Uint8ClampedArray(content.subarray(entry.at, entry.at + entry.length));
  const picture = (entry) => ({
    ...entry, data: bytes(entry.data), mask: bytes(entry.mask), image: Array.from(bytes(entry.image)),
  });
  const { reduced } = description;
  return {
    ...description,
    frames: description.frames.map(picture),
    stills: description.stills.map(picture),
    reduced: { ...reduced, data: bytes(reduced.data), expected: Array.from(bytes(reduced.expected)) },
  };
}
