// Rows of a Parquet file as JSON text: structs are objects, lists arrays, maps arrays of [key, value].
//
//   integers      whole, those of 64 bits too; dates, times and timestamps are the integers that the file stores, INT96
//                 the nanoseconds since 1970 that it means
//   reals         the shortest text that reads back as the same double; "NaN", "Infinity", "-Infinity"
//   decimals      strings, as Python's str(Decimal) has them: "12.50", "0E-10"
//   text          strings, which must be UTF-8
//   other bytes   what the caller makes of them
#pragma once
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "store/parquet/column.h"

namespace ov {

class ParquetRows {
 public:
  // Columns of the root by their names, none: all; a name that is not there is passed over. Nothing else is read. Of
  // every column the whole row group, or with `around` no more than that row's pages.
  ParquetRows(const ParquetFile& file, std::size_t group, const std::vector<std::string>& names = {},
              std::optional<std::int64_t> around = std::nullopt);

  using Binary = std::function<void(std::string_view bytes, std::string* out)>;
  // Appends an object. Throws input_error: text that is no UTF-8, columns that do not agree how long a list is.
  void append_json(std::int64_t row, const Binary& binary, std::string* out) const;
  // What views handed to `binary` look into, to be kept as long as they are.
  std::vector<std::shared_ptr<const void>> memory() const;

 private:
  class Row;
  const ParquetFile& file_;
  const std::size_t group_;
  std::vector<const ParquetNode*> nodes_;
  std::vector<ParquetColumn> columns_;  // of every leaf; empty where it is not asked for
};

}  // namespace ov
