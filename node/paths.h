/* Where things are when nobody says: one rule that the daemon and the command
 * line share.
 *
 * The API's socket of a data directory is DIR/api.sock. The socket of the
 * running user, which a client tries when neither --api nor --data is given
 * and which `confmesh node --dev` serves, is
 *   $XDG_RUNTIME_DIR/confmesh/api.sock   if that variable is set,
 *   /run/confmesh/api.sock               for root,
 *   $HOME/.confmesh/api.sock             for anybody else. */
#ifndef NODE_PATHS_H
#define NODE_PATHS_H

#include <stddef.h>

#include "crdt/base/error.h"

#define PATHS_SIZE_MAX 4096 /* bytes of a path, NUL included */
#define PATHS_SOCKET "api.sock"

/* CM_ERR_TOO_LARGE with detail. */
int paths_data_socket(char ret_path[PATHS_SIZE_MAX], const char *data,
                      struct cm_detail *detail);
/* CM_ERR_NOT_FOUND with detail when no variable says where. */
int paths_user_socket(char ret_path[PATHS_SIZE_MAX], struct cm_detail *detail);
/* Makes the directory that holds path, mode 0700, if it is missing (not its
 * parents, except of the user's socket's). CM_ERR_IO with detail. */
int paths_make_parent(const char *path, struct cm_detail *detail);
/* path itself if it is absolute, else below the working directory. */
int paths_absolute(char ret_path[PATHS_SIZE_MAX], const char *path,
                   struct cm_detail *detail);

#endif
