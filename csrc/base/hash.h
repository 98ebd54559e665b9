/* A running hash, SHA-1 or SHA-256. It serves one thread, again and again. */
#ifndef GPA_HASH_H
#define GPA_HASH_H

#include "base/gpa_base.h"

typedef struct hasher {
	void *context;
	uint32_t size;		/* bytes of the hash */
} hasher;

int hasher_init(hasher *h, int algo, gpa_error *err);
void hasher_update(hasher *h, const void *data, size_t len);
/* hasher_update() that another thread can end. After GPA_ESTOPPED the hasher is as new. `progress` may be NULL. */
int hasher_update_stoppable(hasher *h, gpa_bytes data, const gpa_progress *progress, gpa_error *err);
/* Write the hash, which is h->size bytes, and begin a new one. */
void hasher_final(hasher *h, unsigned char *out);
void hasher_free(hasher *h);

/* Write `size` bytes as lower-case hex digits, and a NUL. */
void oid_to_hex(char *hex, const unsigned char *oid, size_t size);

#endif
