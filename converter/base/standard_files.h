// Descriptors 0 to 2, as a program finds them.
#pragma once
#include <fcntl.h>
#include <unistd.h>

namespace svq::convert {

// Call first in main(). Missing ones become /dev/null, so that no file the program opens is taken for one of them. For
// reading only: writing to an output that was closed stays an error.
inline void open_standard_files() {
  int file = open("/dev/null", O_RDONLY);
  while (file >= 0 && file <= STDERR_FILENO) file = open("/dev/null", O_RDONLY);
  if (file >= 0) close(file);
}

}  // namespace svq::convert
