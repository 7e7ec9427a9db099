// Lists as Slurm writes them.
#pragma once
#include <string>
#include <string_view>
#include <vector>

namespace ov {

// "gpu[08-11,20],login1" is gpu08, gpu09, gpu10, gpu11, gpu20, login1; brackets may stand anywhere and more than once,
// and the last of them counts fastest. input_error names `source` when it is no such list, or of more than 65536 hosts.
std::vector<std::string> hosts_of(std::string_view list, const std::string& source);

// "4(x2),3" is 4, 4, 3: tasks by node.
std::vector<int> counts_of(std::string_view list, const std::string& source);

}  // namespace ov
