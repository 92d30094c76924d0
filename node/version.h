/* The version of every program of the project. */
#ifndef NODE_VERSION_H
#define NODE_VERSION_H

#define CONFMESH_VERSION "0.1.0"

#endif
