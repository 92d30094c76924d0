/* Asking the scheduler for short turns.
 *
 * Loop, verifier and writer work for microseconds at a time and wait often: for
 * a packet, a disk, each other. Each wait that ends on processors that others
 * keep busy costs up to one of their turns, several milliseconds, and a write
 * has a dozen such waits on its way to another node's disk. Linux from 6.12 on
 * serves a thread sooner that asks for shorter turns; its share of the
 * processor stays what it was, so this takes nothing from others and needs no
 * privilege.
 *
 * See "An EEVDF CPU scheduler for Linux", https://lwn.net/Articles/925371/, and
 * sched_setattr(2). */
#ifndef NODE_UV_SLICE_H
#define NODE_UV_SLICE_H

#define UV_SLICE_NS 100000 /* the least that Linux takes */

/* For the calling thread. Changes nothing where the kernel does not know it,
 * and leaves a thread alone that was given another policy than the usual. */
void uv_slice_shorten(void);

#endif
