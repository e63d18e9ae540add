#include "converter/job/float_pass.h"
