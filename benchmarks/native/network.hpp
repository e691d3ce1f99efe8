// AOD-Net with F filters (aodnet/model.py), forward and backward, for one picture.
#pragma once
#include <vector>

#include "planes.hpp"

template <int F>
struct Network {
    // Where each kernel and bias begins: kernels are (out, in, height, width), layer after layer.
    static const int W1 = 0, B1 = W1 + F * 3, W2 = B1 + F, B2 = W2 + F * F * 9, W3 = B2 + F, B3 = W3 + F * 2 * F * 25,
                     W4 = B3 + F, B4 = W4 + F * 2 * F * 49, W5 = B4 + F, B5 = W5 + 12 * F * 9, PARAMETERS = B5 + 3;
    static bool is_bias(int i) {
        return (i >= B1 && i < W2) || (i >= B2 && i < W3) || (i >= B3 && i < W4) || (i >= B4 && i < W5) || i >= B5;
    }
    // Channels and vectors that are computed at once, so that they fit into 32 registers.
    static const int C = F == 3 ? 3 : F == 8 ? 8 : 16, V = F == 3 ? 4 : F == 8 ? 2 : 1;
    static const int C2 = F == 3 ? 6 : C, C4 = F == 3 ? 12 : C, V4 = F == 3 ? 2 : V, G = F == 3 ? 3 : 4;

    Shape shape;
    Planes hazy_, features_, k_, k_slope_, slopes_;
    float *hazy, *features, *k, *k_slope;  // features: x1, x2, x3, x4; k_slope: d loss / d K, before its ReLU

    Network(int height, int width)
        : shape(height, width), hazy_(shape, 3), features_(shape, 4 * F), k_(shape, 3), k_slope_(shape, 3),
          slopes_(shape, 4 * F), hazy(hazy_.data), features(features_.data), k(k_.data), k_slope(k_slope_.data) {}

    // collapsed: x2, x3, x4 are replaced by their means over the picture, and K's kernel acts on one pixel alone.
    void forward(const float *p, bool collapsed = false) {
        float *x1 = features, *x2 = x1 + F * shape.plane, *x3 = x2 + F * shape.plane, *x4 = x3 + F * shape.plane;
        convolve<3, F, 1, V, C, false, true>(shape, hazy, p + W1, p + B1, x1);
        convolve<F, F, 3, V, C, false, true>(shape, x1, p + W2, p + B2, x2);
        convolve<2 * F, F, 5, V, C, false, true>(shape, x1, p + W3, p + B3, x3);  // of x1 and x2
        convolve<2 * F, F, 7, V, C, false, true>(shape, x2, p + W4, p + B4, x4);  // of x2 and x3
        if (!collapsed) return convolve<4 * F, 3, 3, 4, 3, false, true>(shape, features, p + W5, p + B5, k);
        for (int c = F; c < 4 * F; c++) flatten(c);
        std::vector<float> pointwise(12 * F * 9, 0.0f);
        for (int i = 0; i < 12 * F * 9; i++) pointwise[i / 9 * 9 + 4] += p[W5 + i];
        convolve<4 * F, 3, 3, 4, 3, false, true>(shape, features, pointwise.data(), p + B5, k);
    }

    // Adds the gradient to `gradient`, from k_slope. `turned` has room for all parameters.
    void backward(const float *p, float *gradient, float *turned) {
        float *x1 = features, *x2 = x1 + F * shape.plane, *x3 = x2 + F * shape.plane, *x4 = x3 + F * shape.plane;
        float *d1 = slopes_.data, *d2 = d1 + F * shape.plane, *d3 = d2 + F * shape.plane, *d4 = d3 + F * shape.plane;
        add_gradients<4 * F, 3, 3, 3>(shape, x1, k_slope, gradient + W5, gradient + B5);
        turn<4 * F, 3, 3>(p + W5, turned);
        convolve<3, 4 * F, 3, V4, C4, false, false>(shape, k_slope, turned, nullptr, d1);
        mask(shape, x4, d4, F);
        add_gradients<2 * F, F, 7, G>(shape, x2, d4, gradient + W4, gradient + B4);
        turn<2 * F, F, 7>(p + W4, turned);
        convolve<F, 2 * F, 7, V, C2, true, false>(shape, d4, turned, nullptr, d2);
        mask(shape, x3, d3, F);
        add_gradients<2 * F, F, 5, G>(shape, x1, d3, gradient + W3, gradient + B3);
        turn<2 * F, F, 5>(p + W3, turned);
        convolve<F, 2 * F, 5, V, C2, true, false>(shape, d3, turned, nullptr, d1);
        mask(shape, x2, d2, F);
        add_gradients<F, F, 3, G>(shape, x1, d2, gradient + W2, gradient + B2);
        turn<F, F, 3>(p + W2, turned);
        convolve<F, F, 3, V, C, true, false>(shape, d2, turned, nullptr, d1);
        mask(shape, x1, d1, F);
        add_gradients<3, F, 1, G>(shape, hazy, d1, gradient + W1, gradient + B1);
    }

  private:
    void flatten(int channel) {
        float *from = shape.at(features, channel);
        double total = 0;
        for (int y = 0; y < shape.height; y++)
            for (int x = 0; x < shape.width; x++) total += from[(size_t)y * shape.stride + x];
        for (int y = 0; y < shape.height; y++)
            for (int x = 0; x < shape.width; x++)
                from[(size_t)y * shape.stride + x] = total / ((double)shape.height * shape.width);
    }
};
