#include "trainer/data/synthetic_digits.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <vector>

#include "trainer/data/random.h"

namespace ringmaster::trainer {
namespace {

struct Point {
  double x = 0;
  double y = 0;
};

// A stroke runs through its points as a Catmull-Rom spline, or in straight lines.
struct Stroke {
  bool smooth = true;
  std::vector<Point> points;
};

using Glyph = std::vector<Stroke>;

// In a unit box, y downwards. Some digits are written in two ways, as people do.
const std::array<std::vector<Glyph>, kDigitClasses>& Glyphs() {
  static const auto* const glyphs = new std::array<std::vector<Glyph>, kDigitClasses>{{
      {{{true, {{.5, .0}, {.2, .15}, {.1, .5}, {.2, .85}, {.5, 1}, {.8, .85}, {.9, .5}, {.8, .15}, {.5, .0}}}}},
      {{{false, {{.5, .0}, {.5, 1}}}}, {{false, {{.25, .22}, {.55, .0}, {.55, 1}}}}},
      {{{true, {{.15, .25}, {.3, .04}, {.6, .0}, {.82, .2}, {.7, .5}, {.4, .75}, {.12, 1}}}, {false, {{.12, 1}, {.9, 1}}}}},
      {{{true, {{.15, .12}, {.45, .0}, {.78, .1}, {.78, .36}, {.42, .48}}},
        {true, {{.42, .48}, {.82, .6}, {.84, .88}, {.5, 1}, {.12, .88}}}}},
      {{{false, {{.65, 1}, {.65, .0}, {.1, .68}, {.92, .68}}}},
       {{false, {{.2, .0}, {.15, .5}, {.85, .5}}}, {false, {{.72, .05}, {.68, 1}}}}},
      {{{false, {{.82, .0}, {.25, .0}, {.2, .45}}}, {true, {{.2, .45}, {.55, .38}, {.85, .58}, {.8, .88}, {.48, 1}, {.15, .9}}}}},
      {{{true, {{.75, .02}, {.4, .2}, {.18, .55}, {.22, .88}, {.5, 1}, {.8, .88}, {.8, .62}, {.5, .5}, {.2, .68}}}}},
      {{{false, {{.1, .0}, {.88, .0}, {.4, 1}}}}, {{false, {{.1, .02}, {.88, .02}, {.45, 1}}}, {false, {{.3, .5}, {.82, .5}}}}},
      {{{true, {{.5, .48}, {.2, .32}, {.25, .08}, {.5, .0}, {.75, .08}, {.8, .32}, {.5, .48}}},
        {true, {{.5, .48}, {.15, .68}, {.2, .92}, {.5, 1}, {.8, .92}, {.85, .68}, {.5, .48}}}}},
      {{{true, {{.8, .32}, {.5, .5}, {.2, .36}, {.22, .1}, {.5, .0}, {.78, .1}, {.82, .4}, {.7, .75}, {.4, 1}}}}},
  }};
  return *glyphs;
}

Point CatmullRom(const Point& a, const Point& b, const Point& c, const Point& d, double t) {
  const auto at = [t](double p, double q, double r, double s) {
    return q + 0.5 * t * (r - p + t * (2 * p - 5 * q + 4 * r - s + t * (3 * (q - r) + s - p)));
  };
  return {at(a.x, b.x, c.x, d.x), at(a.y, b.y, c.y, d.y)};
}

// The map from the glyph's box to pixels. A rotation by 2 atan(t) needs no C library's sine, whose last bit differs between
// versions.
struct Affine {
  double xx, xy, yx, yy, x0, y0;

  static Affine Random(RandomStream& random) {
    const double t = random.Uniform(-0.13, 0.13);  // +-15 degrees
    const double cosine = (1 - t * t) / (1 + t * t);
    const double sine = 2 * t / (1 + t * t);
    const double shear = random.Uniform(-0.25, 0.25);
    const double width = random.Uniform(9.5, 16.0);
    const double height = random.Uniform(15.0, 21.0);
    const double centre_x = kDigitSide / 2.0 + random.Uniform(-2.5, 2.5);
    const double centre_y = kDigitSide / 2.0 + random.Uniform(-2.0, 2.0);
    const Affine map{cosine * width, (cosine * shear - sine) * height, sine * width, (sine * shear + cosine) * height, 0, 0};
    return {map.xx, map.xy, map.yx, map.yy, centre_x - 0.5 * (map.xx + map.xy), centre_y - 0.5 * (map.yx + map.yy)};
  }

  Point operator()(const Point& p) const { return {xx * p.x + xy * p.y + x0, yx * p.x + yy * p.y + y0}; }
};

// Covers pixels near one line with ink; where strokes meet the darker one wins.
void InkLine(const Point& from, const Point& to, double radius, std::span<double, kDigitSide * kDigitSide> ink) {
  const auto low = [&](double a, double b) {
    return std::clamp<int>(static_cast<int>(std::min(a, b) - radius - 1), 0, kDigitSide - 1);
  };
  const auto high = [&](double a, double b) {
    return std::clamp<int>(static_cast<int>(std::max(a, b) + radius + 1), 0, kDigitSide - 1);
  };
  const double dx = to.x - from.x;
  const double dy = to.y - from.y;
  const double length2 = std::max(dx * dx + dy * dy, 1e-9);
  for (int row = low(from.y, to.y); row <= high(from.y, to.y); ++row) {
    for (int column = low(from.x, to.x); column <= high(from.x, to.x); ++column) {
      const double px = column + 0.5 - from.x;
      const double py = row + 0.5 - from.y;
      const double along = std::clamp((px * dx + py * dy) / length2, 0.0, 1.0);
      const double ex = px - along * dx;
      const double ey = py - along * dy;
      const double cover = std::clamp(radius + 0.5 - std::sqrt(ex * ex + ey * ey), 0.0, 1.0);
      double& pixel = ink[static_cast<size_t>(row * kDigitSide + column)];
      pixel = std::max(pixel, cover);
    }
  }
}

void InkStroke(const Stroke& stroke, const Affine& map, double radius, RandomStream& random,
               std::span<double, kDigitSide * kDigitSide> ink) {
  std::array<Point, 16> points;
  const size_t count = stroke.points.size();
  for (size_t i = 0; i < count; ++i) {
    points[i] = map({stroke.points[i].x + 0.03 * random.Normal(), stroke.points[i].y + 0.03 * random.Normal()});
  }
  for (size_t i = 0; i + 1 < count; ++i) {
    if (!stroke.smooth) {
      InkLine(points[i], points[i + 1], radius, ink);
      continue;
    }
    constexpr int kPieces = 4;
    Point last = points[i];
    for (int piece = 1; piece <= kPieces; ++piece) {
      const Point next = CatmullRom(points[i == 0 ? 0 : i - 1], points[i], points[i + 1], points[std::min(i + 2, count - 1)],
                                    static_cast<double>(piece) / kPieces);
      InkLine(last, next, radius, ink);
      last = next;
    }
  }
}

}  // namespace

void DrawDigit(int digit, uint64_t key, std::span<uint8_t, kDigitSide * kDigitSide> pixels) {
  RandomStream random(key);
  const std::vector<Glyph>& variants = Glyphs()[static_cast<size_t>(digit)];
  const Glyph& glyph = variants[random.Next() % variants.size()];
  const Affine map = Affine::Random(random);
  const double radius = random.Uniform(0.6, 1.7);
  const double brightness = random.Uniform(0.65, 1.0);
  const double noise = random.Uniform(0.0, 0.15);
  std::array<double, kDigitSide * kDigitSide> ink{};
  for (const Stroke& stroke : glyph) InkStroke(stroke, map, radius, random, ink);
  for (size_t i = 0; i < ink.size(); ++i) {
    // Two 32-bit halves: a triangular noise is enough and costs one number per pixel.
    const uint64_t bits = random.Next();
    const double triangle = (static_cast<double>(bits >> 32) - static_cast<double>(bits & 0xFFFFFFFF)) * 0x1p-32;
    pixels[i] = static_cast<uint8_t>(255.0 * std::clamp(brightness * ink[i] + noise * triangle, 0.0, 1.0) + 0.5);
  }
}

LabelledImages DrawSyntheticDigits(uint64_t seed, DigitSet set, int64_t count) {
  constexpr size_t kPixels = kDigitSide * kDigitSide;
  LabelledImages images{.height = kDigitSide, .width = kDigitSide, .pixels = {}, .labels = {}};
  images.pixels.resize(static_cast<size_t>(count) * kPixels);
  images.labels.resize(static_cast<size_t>(count));
  const uint64_t set_key = Mix64(seed, static_cast<uint64_t>(set) + 1);
  for (size_t i = 0; i < images.labels.size(); ++i) {
    const uint64_t key = Mix64(set_key, i);
    const int digit = static_cast<int>(key % kDigitClasses);
    images.labels[i] = static_cast<uint8_t>(digit);
    DrawDigit(digit, key, std::span<uint8_t, kPixels>(images.pixels.data() + i * kPixels, kPixels));
  }
  return images;
}

}  // namespace ringmaster::trainer
