/* SPDX-License-Identifier: BSD-2-Clause */
/* picture.h - a picture of temperatures from 0 to 100 degrees, as PNG. */
#ifndef DIPC_EXAMPLES_PICTURE_H
#define DIPC_EXAMPLES_PICTURE_H

#include <stddef.h>
#include <stdio.h>

/*
 * Paints the SIZE pixels of a row (RGB, three bytes each), with a darker line
 * at every ten degrees. ABOVE is the row above it, or for the first itself.
 */
void picture_paint(const double *row, const double *above, size_t size,
		   unsigned char *rgb);

/* Writes SIZE rows of pixels and closes FILE. Ends the program on errors. */
void picture_write(FILE *file, const char *name, const unsigned char *rgb,
		   size_t size);

#endif
