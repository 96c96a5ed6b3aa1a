/* The table of SIMD kernels: one per instruction set, filled by the Kernels… targets, chosen once.
 *
 * Packed weights. A matrix W[inputs][outputs] is packed into panels of 16 outputs: panel p holds, for
 * k = 0 … inputs-1 in turn, the 16 values W[k][16p … 16p+15], zero beyond `outputs`. A gated layer with
 * G gates of `units` packs panel (b, g) at index b·G + g from the columns g·units + 16b …, so that the G
 * gates of a block of 16 units stand together; `blocks` = ceil(units / 16).
 *
 * One answer. Every output is one chain of products in index order: it starts at the bias (or at a given
 * start), then adds x[k]·W[k] for k ascending, then h[k]·U[k] for k ascending, by fused multiply-add where
 * the level has it. How many rows or panels a kernel takes at once never shows in the bits, nor does it among
 * levels with fused multiply-add. exp, log, tanh, sigmoid and softmax are at most 2 floats from the correctly rounded one.
 * NaN goes in and comes out; nothing traps. Sizes are the caller's promise: not negative, and products of them
 * within memory.
 *
 * Narrow weights. Instead of floats, panels may hold their upper halves (CZ_BF16), or whole numbers of a byte (CZ_INT8).
 * Halves of two inputs share a word of 32 bits, so that one instruction widens each: for k = 0, 2, 4 … the 16 words
 * W[k + 1][…] << 16 | W[k][…], with W[inputs][…] zero. Halves are widened, which is exact, and make the very same chain.
 * Whole numbers of four inputs share a word: W[k][j] is byte 64·(k / 4) + 4·j + 3 + k % 4 of its panel, so that one instruction
 * leaves it alone on top of the word that begins three bytes before it, where it counts 2^24 times what it is. Panels take
 * 64 bytes for each four inputs or fewer; behind the last one three bytes more are read. The sum of products is a chain of its
 * own, from zero: start + scale·(Σ_k x[k]·(2^24·W[k])), the last step by fused multiply-add where the level has it; the sum of
 * x[k]·W[k] must stay below 2^104. A layer's products with x and with h are two such chains, the second starting from the first.
 *
 * Strides count floats between rows. Buffers hold exactly the floats that are named, no padding is read or
 * written beyond them, save that packed weights, packed biases, gate rows and states are whole blocks of 16.
 * Packed weights and biases are aligned to 64 bytes; nothing else need be aligned. States after a step hold
 * zeros from `units` to the end of their last block, whatever the activation.
 */
#ifndef CADENZA_KERNELS_H
#define CADENZA_KERNELS_H

#include <stddef.h>
#include <stdint.h>

/* Activations that work on each value alone. Parameters a, b, c as said; others have none. */
typedef enum cz_activation_kind {
    CZ_LINEAR = 0,
    CZ_SIGMOID,
    CZ_TANH,
    CZ_RELU,            /* x below threshold c: a·(x − c); else min(x, b): Keras ReLU(negative_slope a, max_value b, threshold c) */
    CZ_HARD_SIGMOID,    /* clip(a·x + b, 0, 1): Keras 2 has 0.2, 0.5; Keras 3 has 1/6, 0.5 */
    CZ_ELU,             /* x > 0 ? x : a·(exp(x) − 1) */
    CZ_SELU,            /* b·elu(x) with alpha a */
    CZ_CELU,            /* max(0, x) + min(0, a·(exp(x/a) − 1)) */
    CZ_GELU,            /* exact: x·Φ(x) by erf */
    CZ_GELU_TANH,       /* the tanh approximation */
    CZ_SILU,            /* x·sigmoid(x) */
    CZ_MISH,            /* x·tanh(softplus(x)) */
    CZ_SOFTPLUS,
    CZ_SOFTSIGN,
    CZ_EXPONENTIAL,
    CZ_LOG_SIGMOID,
    CZ_HARD_SILU,       /* x·hard_sigmoid of Keras 3 */
    CZ_HARD_TANH,
    CZ_HARD_SHRINK,     /* |x| > a ? x : 0 */
    CZ_SOFT_SHRINK,     /* |x| > a ? x − sign(x)·a : 0 */
    CZ_TANH_SHRINK,     /* x − tanh(x) */
    CZ_SQUAREPLUS,      /* (x + sqrt(x² + a)) / 2 */
    CZ_SPARSE_PLUS,
    CZ_SPARSE_SIGMOID,
    CZ_THRESHOLD,       /* x > a ? x : b */
    CZ_EXP,             /* the plain functions, for other kernels and the accuracy tests */
    CZ_LOG,
    CZ_ACTIVATION_COUNT
} cz_activation_kind;

typedef struct cz_activation {
    int32_t kind;       /* cz_activation_kind */
    float a, b, c;
} cz_activation;

typedef enum cz_weight_kind { CZ_FLOAT32 = 0, CZ_BF16, CZ_INT8 } cz_weight_kind;

/* Packed weights. */
typedef struct cz_weights {
    const void *panels;
    const float *scales;                        /* CZ_INT8: of each output times 2^-24, in panel order; else not read */
    int32_t kind;                               /* cz_weight_kind */
} cz_weights;

/* A dense layer: out[r][j] = activation(bias[j] + Σ_k x[r][k]·W[k][j]) for j < units. */
typedef struct cz_dense {
    long rows, inputs, units;
    const float *x;                             /* [rows][inputs] */
    cz_weights kernel;                          /* packed */
    const float *column;                        /* of one unit, the kernel again: [inputs]; or NULL */
    const float *bias;                          /* [blocks·16] */
    float *out;                                 /* [rows][units] */
    cz_activation activation;
} cz_dense;

/* What a layer answers beside its states: out[r][j] = activation(h'[r][j]) for j < units. */
typedef struct cz_answer {
    float *out; long stride;                    /* NULL: no answer; must not overlap what is read */
    cz_activation activation;
} cz_answer;

/* One LSTM step of `rows` rows. gates i f c o: c' = f·c + i·act(c̃), h' = o·act(c'). */
typedef struct cz_lstm {
    long rows, inputs, units;
    const float *x; long x_stride;              /* [rows][inputs]; NULL: `start` already holds bias + x·kernel */
    const float *start; long start_stride;      /* [rows][blocks·4·16] in panel order; used only where x is NULL */
    cz_weights kernel;                          /* packed [inputs], 4 gates */
    cz_weights recurrent;                       /* packed [units], 4 gates; of the kernel's kind */
    const float *bias;                          /* [blocks·4·16] in panel order */
    const float *h, *c; long state_stride;      /* states before the step: blocks·16 floats a row */
    float *h_out, *c_out; long state_out_stride;/* states after it; must not overlap h, c */
    cz_activation activation, recurrent_activation;
    const cz_answer *answer;                    /* NULL: none */
} cz_lstm;

/* One GRU step. gates z r h: h' = z·h + (1 − z)·h̃.
 * reset_after: h̃ = act(x·W + b_in + r·(h·U + b_rec)); else h̃ = act(x·W + b + (r·h)·U). */
typedef struct cz_gru {
    long rows, inputs, units;
    const float *x; long x_stride;
    const float *start; long start_stride;      /* [rows][blocks·3·16]: bias (z, r merged; h the input one) + x·kernel */
    cz_weights kernel;                          /* packed [inputs], 3 gates */
    cz_weights recurrent;                       /* reset_after: packed, 3 gates; else packed with 2 gates (z r) */
    cz_weights recurrent_h;                     /* not reset_after: packed, 1 gate (h); else without panels */
    const float *bias;                          /* [blocks·3·16] in panel order */
    const float *recurrent_bias_h;              /* reset_after: [blocks·16], the h gate's recurrent bias; else NULL */
    const float *h; long state_stride;
    float *h_out; long state_out_stride;
    float *scratch;                             /* not reset_after: rows·blocks·16·2 floats; else may be NULL */
    cz_activation activation, recurrent_activation;
    const cz_answer *answer;                    /* NULL: none */
} cz_gru;

/* One SimpleRNN step: h' = act(bias + x·W + h·U). */
typedef struct cz_simple_rnn {
    long rows, inputs, units;
    const float *x; long x_stride;
    const float *start; long start_stride;      /* [rows][blocks·16] */
    cz_weights kernel, recurrent;               /* packed, 1 gate */
    const float *bias;                          /* [blocks·16] */
    const float *h; long state_stride;
    float *h_out; long state_out_stride;
    cz_activation activation;
    const cz_answer *answer;                    /* NULL: none */
} cz_simple_rnn;

/* How an optimizer changes weights; numbers as in Sources/Training/Optimizer.swift. */
typedef enum cz_update_kind {
    CZ_SGD = 0, CZ_RMSPROP, CZ_ADAM, CZ_ADAMW, CZ_NADAM, CZ_ADAGRAD, CZ_ADAMAX, CZ_LION
} cz_update_kind;

/* `count` weights w by their gradients g. m, v, third: what the optimizer keeps, as far as it does; else the one before again.
 * All are whole blocks of 16. */
typedef struct cz_update {
    int32_t kind;                               /* cz_update_kind */
    int32_t nesterov, centered;
    long count;
    float *w, *m, *v, *third;
    const float *g;
    float rate, epsilon, momentum;
    float keep1, rest1, keep2, rest2;           /* of m and v: how much stays and how much comes; rest: 1 - keep */
    float correction1, correction2;             /* for the first updates, by optimizer */
} cz_update;

typedef struct cz_kernels {
    const char *name;                           /* "x86-64-v2", "x86-64-v3", "x86-64-v4", "neon" */

    /* out[r][j] = start[r][j] + Σ_k x[r][k]·W[k][j] for j < outputs. start_stride 0: one bias row for all;
     * start NULL: zeros; start may be out. */
    void (*affine)(const float *x, long x_stride, long rows, long inputs, const float *packed, long outputs,
                   const float *start, long start_stride, float *out, long out_stride);

    /* The same with weights of any kind. */
    void (*affine_packed)(const float *x, long x_stride, long rows, long inputs, const cz_weights *packed, long outputs,
                          const float *start, long start_stride, float *out, long out_stride);

    void (*dense)(const cz_dense *);
    void (*lstm)(const cz_lstm *);
    void (*gru)(const cz_gru *);
    void (*simple_rnn)(const cz_simple_rnn *);

    /* out[i] = activation(x[i]); out may be x. */
    void (*activate)(const cz_activation *, const float *x, float *out, long count);

    /* Softmax, log-softmax over each row of `count` values; out may be x. */
    void (*softmax)(const float *x, long x_stride, float *out, long out_stride, long rows, long count);
    void (*log_softmax)(const float *x, long x_stride, float *out, long out_stride, long rows, long count);

    /* An LSTM's gates with tanh and sigmoid in training. z [rows][4·units]: sums of i f c o, then the gates; the others
     * [rows][units]: c before, c after, tanh of that, h after. */
    void (*lstm_gates)(long rows, long units, float *z, const float *c, float *c_out, float *active, float *h);
    /* Backward: dz, the sums' gradients, from dh and dc, which becomes the gradient of c before. */
    void (*lstm_gates_back)(long rows, long units, const float *z, const float *c, const float *active, const float *dh,
                            float *dc, float *dz);
    /* dx = dy · the derivative at x, which gave y; for CZ_SIGMOID, CZ_TANH and CZ_RELU. dx may be dy. */
    void (*activate_back)(const cz_activation *, const float *x, const float *y, const float *dy, float *dx, long count);
    void (*update)(const cz_update *);
} cz_kernels;

/* Each level's table, filled by its Kernels… target. The engine calls these C functions and imports none of those
 * modules: the compiler would inline their code into its own, compiled for the baseline. */
#if defined(__x86_64__)
cz_kernels cz_kernels_v2(void);
cz_kernels cz_kernels_v3(void);
cz_kernels cz_kernels_v4(void);
#elif defined(__aarch64__)
cz_kernels cz_kernels_neon(void);
#endif

#endif
