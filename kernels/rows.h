// Moving rows: everything that copies rows of [N,C] arrays by an index list, and adds back in a fixed order.
//
//   embedding            y_t = table[ids_t]
//                        dtable[ids_t] += dy_t, in order of t
//   take_rows            y_i = x[index_i], the indices being distinct
//                        dx[index_i] = dy_i, other rows 0
//   insert_class_tokens  y = x with the class vector before the first row of every image
//                        dx = dy without those rows;  dclass += Σ over images, in order
//   splice               y_t = source_t < 0 ? text_t : features[source_t], each feature row being used once
//                        dtext_t = source_t < 0 ? dy_t : 0;  dfeatures[source_t] = dy_t
//   add                  y = a + b, and its gradient is dy itself, twice
//   sum_rows             sum_c += Σ_n x_nc, a tree over n: the gradient of a bias
//
// Rows of one call share a dtype. dtable, dclass and sum are of its accumulation type; so may y and a of an add be (a
// bf16 gradient added to an f32 sum). Index lists are i64; one that points outside is an error (CPU kernels throw).
#pragma once
#include "tensor/tensor.h"

namespace ov::kernels {

struct EmbeddingForward {
  Tensor y;
  Tensor ids, table;
};
struct EmbeddingBackward {
  Tensor dtable;
  Tensor dy, ids;
};
struct TakeRowsForward {
  Tensor y;
  Tensor x, index;
};
struct TakeRowsBackward {
  Tensor dx;
  Tensor dy, index;
};
struct InsertClassTokensForward {
  Tensor y;
  Tensor x, class_vector, first_row;
};  // first_row [images]: rows of y, ascending
struct InsertClassTokensBackward {
  Tensor dx, dclass_vector;
  Tensor dy, first_row;
};
struct SpliceForward {
  Tensor y;
  Tensor text, features, source;
};
struct SpliceBackward {
  Tensor dtext, dfeatures;
  Tensor dy, source;
};
struct Add {
  Tensor y;
  Tensor a, b;
};
struct SumRows {
  Tensor sum;
  Tensor x;
};

void embedding_forward(const EmbeddingForward&);
void embedding_backward(const EmbeddingBackward&);
void take_rows_forward(const TakeRowsForward&);
void take_rows_backward(const TakeRowsBackward&);
void insert_class_tokens_forward(const InsertClassTokensForward&);
void insert_class_tokens_backward(const InsertClassTokensBackward&);
void splice_forward(const SpliceForward&);
void splice_backward(const SpliceBackward&);
void add(const Add&);
void sum_rows(const SumRows&);

}  // namespace ov::kernels
