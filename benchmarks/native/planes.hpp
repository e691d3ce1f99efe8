// Planar pictures with a border of zeros, and convolutions over them in AVX-512's or AVX2's vectors.
#pragma once
#include <cstddef>
#include <cstdlib>
#include <cstring>

// 16 floats; the compiler splits them where the machine's vectors are shorter.
typedef float Vector __attribute__((vector_size(64), aligned(4)));
static const int LANES = 16;
static const int BORDER = 3;  // half of the largest kernel

static inline Vector load(const float *from) { return *(const Vector *)from; }
static inline void store(float *to, Vector values) { *(Vector *)to = values; }
static inline float sum(Vector values) {
    float total = 0;
    for (int i = 0; i < LANES; i++) total += values[i];
    return total;
}

// Height and width (a multiple of 64), floats from row to row, and from plane to plane.
struct Shape {
    int height, width, stride;
    size_t plane;
    Shape(int h, int w) : height(h), width(w), stride((w + 2 * BORDER + 15) / 16 * 16 + 16) {
        plane = (size_t)stride * (h + 2 * BORDER) + 32;
    }
    float *at(float *planes, int channel) const { return planes + plane * channel + BORDER * stride + BORDER; }
    const float *at(const float *planes, int channel) const {
        return planes + plane * channel + BORDER * stride + BORDER;
    }
};

// Planes of zeros, on the boundary of a vector.
struct Planes {
    float *data;
    Planes(const Shape &shape, int count) {
        size_t bytes = (shape.plane * count * sizeof(float) + 127) / 64 * 64;
        data = (float *)aligned_alloc(64, bytes);
        memset(data, 0, bytes);
    }
    ~Planes() { free(data); }
    Planes(const Planes &) = delete;
};

// Zero-padded correlation, out = weights * in + bias. weights are (OUT, IN, SIZE, SIZE).
// WIDE vectors and AT_ONCE output channels stay in registers. ADD: added to what is in `out`, without a bias.
template <int IN, int OUT, int SIZE, int WIDE, int AT_ONCE, bool ADD, bool RELU>
void convolve(const Shape &shape, const float *in, const float *weights, const float *bias, float *out) {
    const int half = SIZE / 2;
    for (int first = 0; first < OUT; first += AT_ONCE)
        for (int y = 0; y < shape.height; y++)
            for (int x = 0; x < shape.width; x += LANES * WIDE) {
                Vector total[AT_ONCE][WIDE];
                for (int o = 0; o < AT_ONCE; o++)
                    for (int j = 0; j < WIDE; j++) total[o][j] = Vector{} + (bias ? bias[first + o] : 0.0f);
                for (int c = 0; c < IN; c++)
                    for (int ky = 0; ky < SIZE; ky++) {
                        const float *row = shape.at(in, c) + (ptrdiff_t)(y + ky - half) * shape.stride + x - half;
                        const float *taps = weights + ((first * IN + c) * SIZE + ky) * SIZE;
#pragma GCC unroll 7
                        for (int kx = 0; kx < SIZE; kx++) {
                            Vector seen[WIDE];
#pragma GCC unroll 4
                            for (int j = 0; j < WIDE; j++) seen[j] = load(row + kx + LANES * j);
#pragma GCC unroll 16
                            for (int o = 0; o < AT_ONCE; o++) {
                                Vector tap = Vector{} + taps[o * IN * SIZE * SIZE + kx];
#pragma GCC unroll 4
                                for (int j = 0; j < WIDE; j++) total[o][j] += tap * seen[j];
                            }
                        }
                    }
                for (int o = 0; o < AT_ONCE; o++) {
                    float *to = shape.at(out, first + o) + (size_t)y * shape.stride + x;
                    for (int j = 0; j < WIDE; j++) {
                        Vector value = total[o][j];
                        if (ADD) value += load(to + LANES * j);
                        if (RELU) value = value > 0 ? value : Vector{};
                        store(to + LANES * j, value);
                    }
                }
            }
}

// Adds the gradients of a convolution's weights and biases, from its input and its output's gradient.
template <int IN, int OUT, int SIZE, int AT_ONCE>
void add_gradients(const Shape &shape, const float *in, const float *slope, float *weights, float *bias) {
    const int half = SIZE / 2;
    for (int first = 0; first < OUT; first += AT_ONCE)
        for (int c = 0; c < IN; c++)
            for (int ky = 0; ky < SIZE; ky++) {
                Vector total[AT_ONCE][SIZE];
                for (int o = 0; o < AT_ONCE; o++)
                    for (int kx = 0; kx < SIZE; kx++) total[o][kx] = Vector{};
                for (int y = 0; y < shape.height; y++) {
                    const float *row = shape.at(in, c) + (ptrdiff_t)(y + ky - half) * shape.stride - half;
                    const float *from = shape.at(slope, first) + (size_t)y * shape.stride;
                    for (int x = 0; x < shape.width; x += LANES) {
                        Vector slopes[AT_ONCE];
#pragma GCC unroll 16
                        for (int o = 0; o < AT_ONCE; o++) slopes[o] = load(from + o * shape.plane + x);
#pragma GCC unroll 7
                        for (int kx = 0; kx < SIZE; kx++) {
                            Vector seen = load(row + x + kx);
#pragma GCC unroll 16
                            for (int o = 0; o < AT_ONCE; o++) total[o][kx] += slopes[o] * seen;
                        }
                    }
                }
                for (int o = 0; o < AT_ONCE; o++)
                    for (int kx = 0; kx < SIZE; kx++)
                        weights[(((first + o) * IN + c) * SIZE + ky) * SIZE + kx] += sum(total[o][kx]);
            }
    for (int o = 0; o < OUT; o++) {
        Vector total{};
        for (int y = 0; y < shape.height; y++)
            for (int x = 0; x < shape.width; x += LANES) total += load(shape.at(slope, o) + (size_t)y * shape.stride + x);
        bias[o] += sum(total);
    }
}

// The kernels of the convolution that takes a gradient back to the input: turned by half a turn, (IN, OUT, ...).
template <int IN, int OUT, int SIZE>
void turn(const float *weights, float *turned) {
    const int last = SIZE * SIZE - 1;
    for (int o = 0; o < OUT; o++)
        for (int c = 0; c < IN; c++)
            for (int k = 0; k <= last; k++)
                turned[(c * OUT + o) * (last + 1) + last - k] = weights[(o * IN + c) * (last + 1) + k];
}

// Sets a gradient to 0 where its ReLU put out 0.
static inline void mask(const Shape &shape, const float *values, float *slope, int channels) {
    for (int c = 0; c < channels; c++)
        for (int y = 0; y < shape.height; y++)
            for (int x = 0; x < shape.width; x += LANES) {
                size_t place = (size_t)y * shape.stride + x;
                float *to = shape.at(slope, c) + place;
                store(to, load(shape.at(values, c) + place) > 0 ? load(to) : Vector{});
            }
}
