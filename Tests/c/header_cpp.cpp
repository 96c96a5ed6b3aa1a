// The header by itself, in C++: the names are C's, and enums and structs keep their sizes.
#include <cadenza.h>
#include <cadenza.h>

static_assert(sizeof(cadenza_status) == 4 && sizeof(cadenza_verdict) == 4, "enums are 32 bits wide");
static_assert(sizeof(cadenza_tensor_info) == 96 && sizeof(cadenza_layer_info) == 112 && sizeof(cadenza_weight_info) == 104 &&
                  sizeof(cadenza_state_info) == 32 && sizeof(cadenza_shape) == 96 && sizeof(cadenza_load_options) == 32,
              "structs are as large as in version 0.1");

int main() { return cadenza_model_input_count(nullptr) == 0 && *cadenza_version() ? 0 : 1; }
