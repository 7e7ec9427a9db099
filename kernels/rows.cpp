#include "kernels/rows.h"

#include "kernels/check.h"
#include "kernels/table.h"

namespace ov::kernels {

void embedding_forward(const EmbeddingForward& a) {
  check("embedding_forward", {{"table", a.table, "V C"}, {"y", a.y, "T C"}, {"ids", a.ids, "T:i64"}});
  OV_RUN(a.table, embedding_forward, a);
}

void embedding_backward(const EmbeddingBackward& a) {
  check("embedding_backward", {{"dy", a.dy, "T C"}, {"dtable", a.dtable, "V C:acc"}, {"ids", a.ids, "T:i64"}});
  OV_RUN(a.dy, embedding_backward, a);
}

void take_rows_forward(const TakeRowsForward& a) {
  check("take_rows_forward", {{"x", a.x, "N C"}, {"y", a.y, "I C"}, {"index", a.index, "I:i64"}});
  OV_RUN(a.x, take_rows_forward, a);
}

void take_rows_backward(const TakeRowsBackward& a) {
  check("take_rows_backward", {{"dx", a.dx, "N C"}, {"dy", a.dy, "I C"}, {"index", a.index, "I:i64"}});
  OV_RUN(a.dy, take_rows_backward, a);
}

void insert_class_tokens_forward(const InsertClassTokensForward& a) {
  check("insert_class_tokens_forward", {{"x", a.x, "P C"},
                                        {"y", a.y, "M C"},
                                        {"class_vector", a.class_vector, "C"},
                                        {"first_row", a.first_row, "G:i64"}});
  if (a.y.dim(0) != a.x.dim(0) + a.first_row.dim(0))
    input_error("insert_class_tokens: ", a.x.dim(0), " rows and ", a.first_row.dim(0), " class tokens do not make ",
                a.y.dim(0));
  OV_RUN(a.x, insert_class_tokens_forward, a);
}

void insert_class_tokens_backward(const InsertClassTokensBackward& a) {
  check("insert_class_tokens_backward", {{"dy", a.dy, "M C"},
                                         {"dx", a.dx, "P C?"},
                                         {"dclass_vector", a.dclass_vector, "C:acc?"},
                                         {"first_row", a.first_row, "G:i64"}});
  OV_RUN(a.dy, insert_class_tokens_backward, a);
}

void splice_forward(const SpliceForward& a) {
  check("splice_forward",
        {{"text", a.text, "T C"}, {"features", a.features, "M C"}, {"y", a.y, "T C"}, {"source", a.source, "T:i64"}});
  OV_RUN(a.text, splice_forward, a);
}

void splice_backward(const SpliceBackward& a) {
  check("splice_backward", {{"dy", a.dy, "T C"},
                            {"dtext", a.dtext, "T C?"},
                            {"dfeatures", a.dfeatures, "M C?"},
                            {"source", a.source, "T:i64"}});
  OV_RUN(a.dy, splice_backward, a);
}

void add(const Add& a) {
  check("add", {{"b", a.b, "N C"}, {"a", a.a, "N C:out"}, {"y", a.y, "N C:out"}});
  if (a.a.dtype() != a.y.dtype()) input_error("add: ", name_of(a.a.dtype()), " into ", name_of(a.y.dtype()));
  OV_RUN(a.y, add, a);
}

void sum_rows(const SumRows& a) {
  check("sum_rows", {{"x", a.x, "N C"}, {"sum", a.sum, "C:acc"}});
  OV_RUN(a.x, sum_rows, a);
}

}  // namespace ov::kernels
