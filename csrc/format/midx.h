/* The layout of a combined index, for reading and for writing it (docs/formats/combined-index.md). */
#ifndef GPA_MIDX_H
#define GPA_MIDX_H

#define MIDX_SIGNATURE 0x4d494458u	/* "MIDX" */
#define MIDX_HEADER 12
#define MIDX_TOC_ROW 12		/* bytes of a row in the table of chunks */

#define CHUNK(a, b, c, d) ((uint32_t)(a) << 24 | (uint32_t)(b) << 16 | (uint32_t)(c) << 8 | (uint32_t)(d))
#define PNAM CHUNK('P', 'N', 'A', 'M')
#define OIDF CHUNK('O', 'I', 'D', 'F')
#define OIDL CHUNK('O', 'I', 'D', 'L')
#define OOFF CHUNK('O', 'O', 'F', 'F')
#define LOFF CHUNK('L', 'O', 'F', 'F')
#define RIDX CHUNK('R', 'I', 'D', 'X')
#define BTMP CHUNK('B', 'T', 'M', 'P')

#endif
