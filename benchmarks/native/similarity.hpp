// SSIM of two planes (aodnet/metrics.py has the protocol), and its gradient.
#pragma once
#include <cmath>
#include <vector>

#include "planes.hpp"

struct Similarity {
    static const int WINDOW = 11, LOST = WINDOW - 1;
    int height, width, stride;
    float gauss[WINDOW];
    std::vector<float> mean_x, mean_y, xx, yy, xy, lines, product, padded;

    Similarity(int h, int w) : height(h), width(w), stride((w + LOST + 15) / 16 * 16 + 32) {
        double total = 0;
        for (int i = 0; i < WINDOW; i++) total += exp(-(i - 5) * (i - 5) / (2 * 1.5 * 1.5));
        for (int i = 0; i < WINDOW; i++) gauss[i] = exp(-(i - 5) * (i - 5) / (2 * 1.5 * 1.5)) / total;
        for (auto *map : {&mean_x, &mean_y, &xx, &yy, &xy, &lines, &product, &padded})
            map->assign((size_t)stride * (h + 12), 0.0f);
    }

    // Mean SSIM of x (restored) and y (clean), planes of `across` floats a row. Adds scale * dSSIM/dx to `slope`.
    double run(const float *x, const float *y, int across, float *slope, float scale) {
        window_mean(x, height, width, across, mean_x.data());
        window_mean(y, height, width, across, mean_y.data());
        moment(x, x, across, xx.data());
        moment(y, y, across, yy.data());
        moment(x, y, across, xy.data());
        const float c1 = 1e-4f, c2 = 9e-4f;
        const int rows = height - LOST, columns = width - LOST;
        const float share = scale / ((float)rows * columns);
        double total = 0;
        for (int row = 0; row < rows; row++) {
            double line = 0;
            for (size_t i = (size_t)row * stride; i < (size_t)row * stride + columns; i++) {
                float p = mean_x[i], q = mean_y[i];
                float a1 = 2 * p * q + c1, a2 = 2 * (xy[i] - p * q) + c2;
                float b1 = p * p + q * q + c1, b2 = xx[i] - p * p + yy[i] - q * q + c2;
                float value = a1 * a2 / (b1 * b2);
                line += value;
                if (slope) {  // with respect to E[x], E[x^2] and E[xy]
                    mean_x[i] = share * (2 * q * (a2 - a1) / (b1 * b2) - 2 * p * value / b1 + 2 * p * value / b2);
                    xx[i] = -share * value / b2;
                    xy[i] = share * 2 * a1 / (b1 * b2);
                }
            }
            total += line;
        }
        if (slope) {
            add_back(mean_x, nullptr, 1, across, slope);
            add_back(xx, x, 2, across, slope);
            add_back(xy, y, 1, across, slope);
        }
        return total / ((double)rows * columns);
    }

  private:
    // Gaussian mean of each window that lies wholly inside.
    void window_mean(const float *in, int h, int w, int across, float *out) {
        for (int y = 0; y < h - LOST; y++)
            for (int x = 0; x < w; x += LANES) {
                Vector total{};
#pragma GCC unroll 11
                for (int i = 0; i < WINDOW; i++) total += gauss[i] * load(in + (size_t)(y + i) * across + x);
                store(&lines[(size_t)y * stride + x], total);
            }
        for (int y = 0; y < h - LOST; y++)
            for (int x = 0; x < w - LOST; x += LANES) {
                Vector total{};
#pragma GCC unroll 11
                for (int i = 0; i < WINDOW; i++) total += gauss[i] * load(&lines[(size_t)y * stride + x + i]);
                store(out + (size_t)y * stride + x, total);
            }
    }

    void moment(const float *a, const float *b, int across, float *out) {
        for (int y = 0; y < height; y++)
            for (int x = 0; x < width; x += LANES)
                store(&product[(size_t)y * stride + x],
                      load(a + (size_t)y * across + x) * load(b + (size_t)y * across + x));
        window_mean(product.data(), height, width, stride, out);
    }

    // The transpose of window_mean, times `factor` and a plane, added to `slope`.
    void add_back(const std::vector<float> &map, const float *times, float factor, int across, float *slope) {
        std::fill(padded.begin(), padded.end(), 0.0f);
        for (int y = 0; y < height - LOST; y++)
            memcpy(&padded[(size_t)(y + LOST) * stride + LOST], &map[(size_t)y * stride],
                   (width - LOST) * sizeof(float));
        window_mean(padded.data(), height + LOST, width + LOST, stride, product.data());
        for (int y = 0; y < height; y++)
            for (int x = 0; x < width; x += LANES) {
                Vector value = factor * load(&product[(size_t)y * stride + x]);
                if (times) value *= load(times + (size_t)y * across + x);
                float *to = slope + (size_t)y * across + x;
                store(to, load(to) + value);
            }
    }
};
