// Trains and scores AOD-Net on scenes that get their haze here, for benchmarks/experiments.py.
//
//   g++ -O3 -march=native -ffast-math -fno-finite-math-only -fopenmp -shared -fPIC -o libsearch.so search.cpp
#include <algorithm>
#include <cmath>
#include <cstdint>

#include <omp.h>

#include "network.hpp"
#include "similarity.hpp"

// n scenes of one size: sRGB codes (n, 3, height, width), distances (n, height, width) in units of unit_m [m], 65535
// where there is no surface, and fx, fy, cx, cy of each.
struct Scenes {
    int n, height, width;
    const uint8_t *clean;
    const uint16_t *distance;
    const float *unit_m, *camera;
};

// One haze of one scene: beta [1/m] and light for red, green, blue. turn: 1 from plane to ray, -1 back, 0 neither.
struct Haze {
    int scene;
    float beta[3], light[3];
    int turn;
};

struct Settings {
    int first_step, steps, all_steps, batch, crop, poses;  // poses: 8 turns and mirrors the windows, 1 does not
    uint64_t seed;
    float learning_rate, final_share, warmup, weight_decay, clip_norm, beta_1, beta_2, ema, products_kept;
    float l1, l2, charbonnier, ssim, log_mse;
};

// SplitMix64.
struct Random {
    uint64_t state;
    uint64_t next() {
        state += 0x9E3779B97f4A7C15ull;
        uint64_t z = state;
        z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9ull;
        z = (z ^ (z >> 27)) * 0x94D049BB133111EBull;
        return z ^ (z >> 31);
    }
    int below(int n) { return (int)((next() >> 11) * (1.0 / 9007199254740992.0) * n); }
};

// Clean and hazy window (rounded to 8 bits), turned and mirrored by `pose`, 0 to 7.
static void add_haze(const Scenes &scenes, const Haze &haze, int top, int left, int pose, const Shape &shape,
                     float *hazy, float *clean) {
    const size_t size = (size_t)scenes.height * scenes.width;
    const uint8_t *codes = scenes.clean + haze.scene * 3 * size;
    const uint16_t *units = scenes.distance + haze.scene * size;
    const float *camera = scenes.camera + 4 * haze.scene, unit_m = scenes.unit_m[haze.scene];
    const bool gray = haze.beta[0] == haze.beta[1] && haze.beta[1] == haze.beta[2];
    for (int y = 0; y < shape.height; y++)
        for (int x = 0; x < shape.width; x++) {
            int row = pose & 2 ? shape.height - 1 - y : y, column = pose & 1 ? shape.width - 1 - x : x;
            if (pose & 4) std::swap(row, column);
            row += top, column += left;
            const size_t from = (size_t)row * scenes.width + column, to = (size_t)y * shape.stride + x;
            float length = units[from] * unit_m;
            if (haze.turn) {
                float u = (column - camera[2]) / camera[0], v = (row - camera[3]) / camera[1];
                float slant = sqrtf(1 + u * u + v * v);
                length = haze.turn > 0 ? length * slant : length / slant;
            }
            float t = 0;
            for (int c = 0; c < 3; c++) {
                if (c == 0 || !gray) t = units[from] == 65535 ? 0.0f : expf(-haze.beta[c] * length);
                float j = codes[c * size + from] * (1.0f / 255);
                float i = j * t + haze.light[c] * (1 - t);
                shape.at(clean, c)[to] = j;
                shape.at(hazy, c)[to] = floorf(i * 255 + 0.5f) * (1.0f / 255);
            }
        }
}

// What one thread works with.
template <int F>
struct Bench {
    Network<F> network;
    Planes clean, restored, slope;
    Similarity similarity;
    std::vector<float> turned;
    Bench(int h, int w)
        : network(h, w), clean(network.shape, 3), restored(network.shape, 3), slope(network.shape, 3),
          similarity(h, w), turned(Network<F>::PARAMETERS) {}

    // J = ReLU(K I - K + 1).
    void restore() {
        const Shape &s = network.shape;
        for (int c = 0; c < 3; c++)
            for (int y = 0; y < s.height; y++) {
                const float *k = s.at(network.k, c) + (size_t)y * s.stride;
                const float *i = s.at(network.hazy, c) + (size_t)y * s.stride;
                float *j = s.at(restored.data, c) + (size_t)y * s.stride;
                for (int x = 0; x < s.width; x++) j[x] = std::max(k[x] * i[x] - k[x] + 1.0f, 0.0f);
            }
    }

    double squared_error() {
        const Shape &s = network.shape;
        double total = 0;
        for (int c = 0; c < 3; c++)
            for (int y = 0; y < s.height; y++) {
                const float *j = s.at(clean.data, c) + (size_t)y * s.stride;
                const float *r = s.at(restored.data, c) + (size_t)y * s.stride;
                float line = 0;
                for (int x = 0; x < s.width; x++) line += (r[x] - j[x]) * (r[x] - j[x]);
                total += line;
            }
        return total / (3.0 * s.height * s.width);
    }

    // The loss of the restored window (aodnet/losses.py, and log MSE); leaves its gradient in network.k_slope.
    double loss(const Settings &o) {
        const Shape &s = network.shape;
        const float share = 1.0f / (3.0f * s.height * s.width), epsilon = 1e-3f, least = 1e-5f;
        const float mse = squared_error(), of_square = o.l2 + o.log_mse / (mse + least);
        double value = o.l2 * mse + o.log_mse * logf(mse + least);
        for (int c = 0; c < 3; c++)
            for (int y = 0; y < s.height; y++) {
                const float *j = s.at(clean.data, c) + (size_t)y * s.stride;
                const float *r = s.at(restored.data, c) + (size_t)y * s.stride;
                float *g = s.at(slope.data, c) + (size_t)y * s.stride;
                float line = 0;
                for (int x = 0; x < s.width; x++) {
                    float d = r[x] - j[x], sign = d > 0 ? 1.0f : d < 0 ? -1.0f : 0.0f;
                    float root = sqrtf(d * d + epsilon * epsilon);
                    line += o.l1 * fabsf(d) + o.charbonnier * root;
                    g[x] = share * (o.l1 * sign + o.charbonnier * d / root + 2 * of_square * d);
                }
                value += line * share;
            }
        for (int c = 0; c < 3 && o.ssim > 0; c++)
            value += o.ssim / 3 * (1 - similarity.run(s.at(restored.data, c), s.at(clean.data, c), s.stride,
                                                      s.at(slope.data, c), -o.ssim / 3));
        for (int c = 0; c < 3; c++)
            for (int y = 0; y < s.height; y++)
                for (int x = 0; x < s.width; x++) {
                    size_t i = (size_t)y * s.stride + x;
                    bool alive = s.at(restored.data, c)[i] > 0 && s.at(network.k, c)[i] > 0;
                    s.at(network.k_slope, c)[i] = alive ? s.at(slope.data, c)[i] * (s.at(network.hazy, c)[i] - 1) : 0;
                }
        return value;
    }

    // PSNR [dB] and SSIM of the restored picture, rounded to 8 bits.
    void score(double *psnr, double *ssim) {
        const Shape &s = network.shape;
        for (int c = 0; c < 3; c++)
            for (int y = 0; y < s.height; y++) {
                float *r = s.at(restored.data, c) + (size_t)y * s.stride;
                for (int x = 0; x < s.width; x++) r[x] = floorf(std::min(r[x], 1.0f) * 255 + 0.5f) * (1.0f / 255);
            }
        *psnr = -10 * log10(squared_error() + 1e-12);
        *ssim = 0;
        for (int c = 0; c < 3; c++)
            *ssim += similarity.run(s.at(restored.data, c), s.at(clean.data, c), s.stride, nullptr, 0) / 3;
    }
};

// Warm-up and cosine, as aodnet/optimizer.py.
static float rate(const Settings &o, int step) {
    const int warmup = (int)(o.warmup * o.all_steps + 0.5f);
    if (step < warmup) return o.learning_rate * step / warmup;
    const double done = std::min(1.0, (double)(step - warmup) / std::max(1, o.all_steps - warmup));
    return o.learning_rate * (o.final_share + (1 - o.final_share) * 0.5 * (1 + cos(M_PI * done)));
}

// The parameters of layer `number`, 0 to 4: kernel and bias.
template <int F>
static void layer(int number, int *first, int *size) {
    typedef Network<F> N;
    const int starts[] = {N::W1, N::W2, N::W3, N::W4, N::W5, N::PARAMETERS};
    *first = starts[number], *size = starts[number + 1] - starts[number];
}

// Running mean of the outer products of the examples' gradients, (size, size) for each layer in turn.
template <int F>
static void observe(const Settings &o, const std::vector<std::vector<float>> &gradients, float *products) {
    for (int l = 0, first, size; l < 5; l++) {
        layer<F>(l, &first, &size);
#pragma omp parallel for schedule(static)
        for (int i = 0; i < size; i++) {
            float *row = products + (size_t)i * size;
            for (int j = 0; j < size; j++) row[j] *= o.products_kept;
            for (const auto &gradient : gradients) {
                const float *g = &gradient[first], share = (1 - o.products_kept) / o.batch * g[i];
                for (int j = 0; j < size; j++) row[j] += share * g[j];
            }
        }
        products += (size_t)size * size;
    }
}

// to = basis * from for each layer, or its transpose times from: basis holds one eigenvector a row.
template <int F>
static void rotate(const float *basis, const float *from, float *to, bool back) {
    for (int l = 0, first, size; l < 5; l++) {
        layer<F>(l, &first, &size);
        if (back) std::fill(to + first, to + first + size, 0.0f);
        for (int i = 0; i < size; i++) {
            const float *row = basis + (size_t)i * size;
            float dot = 0;
            if (back)
                for (int j = 0; j < size; j++) to[first + j] += row[j] * from[first + i];
            else
                for (int j = 0; j < size; j++) dot += row[j] * from[first + j];
            if (!back) to[first + i] = dot;
        }
        basis += (size_t)size * size;
    }
}

// AdamW, and the moving average of the weights. With a basis, moments and step are in its coordinates (as SOAP has it).
template <int F>
static void update(const Settings &o, int step, std::vector<float> gradient, float *p, float *m, float *v, float *average,
                   const float *basis) {
    const int n = Network<F>::PARAMETERS;
    double norm = 0;
    for (float g : gradient) norm += (double)g * g;
    const float scale = sqrt(norm) > o.clip_norm ? o.clip_norm / sqrt(norm) : 1;
    const float now = rate(o, step), c1 = 1 - pow(o.beta_1, step + 1), c2 = 1 - pow(o.beta_2, step + 1);
    std::vector<float> change(n), turned(n);
    if (basis) rotate<F>(basis, gradient.data(), turned.data(), false);
    for (int i = 0; i < n; i++) {
        const float g = scale * (basis ? turned[i] : gradient[i]);
        m[i] = o.beta_1 * m[i] + (1 - o.beta_1) * g;
        v[i] = o.beta_2 * v[i] + (1 - o.beta_2) * g * g;
        change[i] = (m[i] / c1) / (sqrtf(v[i] / c2) + 1e-7f);
    }
    if (basis) {
        rotate<F>(basis, change.data(), turned.data(), true);
        change = turned;
    }
    for (int i = 0; i < n; i++) {
        if (!Network<F>::is_bias(i)) p[i] -= now * o.weight_decay * p[i];
        p[i] -= now * change[i];
        average[i] = o.ema * average[i] + (1 - o.ema) * p[i];
    }
}

template <int F>
static double train_steps(const Scenes &scenes, int hazes, const Haze *haze, const Settings &o, float *p, float *m,
                          float *v, float *average, const float *basis, float *products) {
    const int parameters = Network<F>::PARAMETERS;
    std::vector<std::vector<float>> gradients(o.batch, std::vector<float>(parameters));
    std::vector<double> losses(o.batch);
    std::vector<Bench<F> *> benches(omp_get_max_threads());
    for (auto &bench : benches) bench = new Bench<F>(o.crop, o.crop);
    double total = 0;
    for (int step = o.first_step; step < o.first_step + o.steps; step++) {
#pragma omp parallel for schedule(dynamic, 1)
        for (int e = 0; e < o.batch; e++) {
            Bench<F> &bench = *benches[omp_get_thread_num()];
            // A function of seed, step and place in the batch: threads change nothing.
            Random random{o.seed * 0x9E3779B97f4A7C15ull + ((uint64_t)step * o.batch + e) * 0xD1342543DE82EF95ull};
            random.next();
            const Haze &one = haze[random.below(hazes)];
            const int top = random.below(scenes.height - o.crop + 1), left = random.below(scenes.width - o.crop + 1);
            add_haze(scenes, one, top, left, random.below(o.poses), bench.network.shape, bench.network.hazy,
                     bench.clean.data);
            bench.network.forward(p);
            bench.restore();
            losses[e] = bench.loss(o);
            std::fill(gradients[e].begin(), gradients[e].end(), 0.0f);
            bench.network.backward(p, gradients[e].data(), bench.turned.data());
        }
        std::vector<float> mean(parameters, 0.0f);
        for (int e = 0; e < o.batch; e++) {
            for (int i = 0; i < parameters; i++) mean[i] += gradients[e][i] / o.batch;
            total += losses[e] / o.batch;
        }
        update<F>(o, step, mean, p, m, v, average, basis);
        if (products && step % 4 == 0) observe<F>(o, gradients, products);
    }
    for (auto bench : benches) delete bench;
    return total / o.steps;
}

// mode 0: the network; 1: without its surroundings; 2: the hazy picture itself.
template <int F>
static void score_hazes(const Scenes &scenes, int hazes, const Haze *haze, const float *p, int mode, double *psnr,
                        double *ssim) {
#pragma omp parallel
    {
        Bench<F> bench(scenes.height, scenes.width);
        std::fill(bench.network.k, bench.network.k + 3 * bench.network.shape.plane, 1.0f);  // K = 1 restores nothing
#pragma omp for schedule(dynamic, 1)
        for (int e = 0; e < hazes; e++) {
            add_haze(scenes, haze[e], 0, 0, 0, bench.network.shape, bench.network.hazy, bench.clean.data);
            if (mode < 2) bench.network.forward(p, mode == 1);
            bench.restore();
            bench.score(psnr + e, ssim + e);
        }
    }
}

// A function template for each width that experiments.py tries.
template <template <int> class Of> auto of_width(int filters) {
    return filters == 3 ? Of<3>::value : filters == 8 ? Of<8>::value : filters == 16 ? Of<16>::value : Of<32>::value;
}
template <int FILTERS> struct Parameters { static constexpr int value = Network<FILTERS>::PARAMETERS; };
template <int FILTERS> struct Train { static constexpr auto value = &train_steps<FILTERS>; };
template <int FILTERS> struct Score { static constexpr auto value = &score_hazes<FILTERS>; };

extern "C" {
int parameters(int filters) { return of_width<Parameters>(filters); }

double train(int filters, const Scenes *scenes, int hazes, const Haze *haze, const Settings *settings, float *p, float *m,
             float *v, float *average, const float *basis, float *products) {
    return of_width<Train>(filters)(*scenes, hazes, haze, *settings, p, m, v, average, basis, products);
}

void score(int filters, const Scenes *scenes, int hazes, const Haze *haze, const float *p, int mode, double *psnr,
           double *ssim) {
    of_width<Score>(filters)(*scenes, hazes, haze, p, mode, psnr, ssim);
}
}
