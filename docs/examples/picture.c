/* SPDX-License-Identifier: BSD-2-Clause */
#include "picture.h"

#include "common.h"

#include <png.h>

static void colour(double temp, unsigned char *rgb)
{
	/* from black over purple, red and orange to a pale yellow */
	static const unsigned char map[][3] = {
		{0, 0, 4},      {31, 12, 72},   {85, 15, 109},
		{136, 34, 106}, {186, 54, 85},  {227, 89, 51},
		{249, 140, 10}, {249, 201, 50}, {252, 255, 164},
	};
	const int last = sizeof(map) / sizeof(map[0]) - 1;
	double at = temp / 100.0 * last, part;
	int i = (int)at, c;

	if (i >= last)
		i = last - 1;
	part = at - i;
	for (c = 0; c < 3; c++)
		rgb[c] = (unsigned char)(map[i][c] * (1.0 - part) +
					 map[i + 1][c] * part + 0.5);
}

void picture_paint(const double *row, const double *above, size_t size,
		   unsigned char *rgb)
{
	size_t c, i;

	for (c = 0; c < size; c++) {
		int band = (int)(row[c] / 10.0);

		colour(row[c], &rgb[3 * c]);
		if (band == (int)(above[c] / 10.0) &&
		    (c == 0 || band == (int)(row[c - 1] / 10.0)))
			continue;
		for (i = 0; i < 3; i++)
			rgb[3 * c + i] =
				(unsigned char)(rgb[3 * c + i] * 3 / 5);
	}
}

static _Noreturn void picture_fail(png_structp png, png_const_charp text)
{
	(void)png;
	ex_die("picture: %s", text);
}

void picture_write(FILE *file, const char *name, const unsigned char *rgb,
		   size_t size)
{
	png_structp png = png_create_write_struct(PNG_LIBPNG_VER_STRING, NULL,
						  picture_fail, NULL);
	png_infop info = png ? png_create_info_struct(png) : NULL;
	size_t r;

	if (!info)
		ex_die("out of memory");
	png_init_io(png, file);
	png_set_IHDR(png, info, (png_uint_32)size, (png_uint_32)size, 8,
		     PNG_COLOR_TYPE_RGB, PNG_INTERLACE_NONE,
		     PNG_COMPRESSION_TYPE_DEFAULT, PNG_FILTER_TYPE_DEFAULT);
	png_write_info(png, info);
	for (r = 0; r < size; r++)
		png_write_row(png, &rgb[3 * size * r]);
	png_write_end(png, NULL);
	png_destroy_write_struct(&png, &info);
	if (fclose(file) != 0)
		ex_die("%s: %m", name);
}
