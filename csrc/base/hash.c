/* SHA-1 and SHA-256 by libcrypto, CRC32 by libdeflate or zlib: no hash of our own. */
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <zlib.h>
#ifdef GPA_LIBDEFLATE
#include <libdeflate.h>
#endif

#include "base/error.h"
#include "base/hash.h"

#define STOP_EVERY (8 * 1024 * 1024)	/* bytes hashed between two checks for a request to stop */

size_t gpa_hash_size(int algo)
{
	return algo == GPA_SHA1 ? 20 : algo == GPA_SHA256 ? 32 : 0;
}

int hasher_init(hasher *h, int algo, gpa_error *err)
{
	const EVP_MD *md = algo == GPA_SHA256 ? EVP_sha256() : EVP_sha1();
	h->size = (uint32_t)gpa_hash_size(algo);
	h->context = EVP_MD_CTX_new();
	if (!h->context)
		return out_of_memory(err);
	if (!EVP_DigestInit_ex(h->context, md, NULL)) {
		hasher_free(h);
		return unsupported(err, "libcrypto refuses %s", algo == GPA_SHA256 ? "SHA-256" : "SHA-1");
	}
	return GPA_OK;
}

void hasher_update(hasher *h, const void *data, size_t len)
{
	EVP_DigestUpdate(h->context, data, len);
}

int hasher_update_stoppable(hasher *h, gpa_bytes data, const gpa_progress *progress, gpa_error *err)
{
	unsigned char ignored[GPA_OID_MAX];
	for (size_t done = 0, piece; done < data.len; done += piece) {
		if (is_stopped(progress)) {
			hasher_final(h, ignored);
			return stopped(err);
		}
		piece = data.len - done < STOP_EVERY ? data.len - done : STOP_EVERY;
		hasher_update(h, data.ptr + done, piece);
	}
	return GPA_OK;
}

void hasher_final(hasher *h, unsigned char *out)
{
	EVP_DigestFinal_ex(h->context, out, NULL);
	EVP_DigestInit_ex(h->context, NULL, NULL);
}

void hasher_free(hasher *h)
{
	EVP_MD_CTX_free(h->context);
	h->context = NULL;
}

int gpa_hash_bytes(unsigned char *out, int algo, gpa_bytes data, gpa_error *err)
{
	hasher h;
	int status = hasher_init(&h, algo, err);
	if (status)
		return status;
	hasher_update(&h, data.ptr, data.len);
	hasher_final(&h, out);
	hasher_free(&h);
	return GPA_OK;
}

uint32_t gpa_crc32(uint32_t crc, gpa_bytes data)
{
#ifdef GPA_LIBDEFLATE
	return libdeflate_crc32(crc, data.ptr, data.len);
#else
	return (uint32_t)crc32_z(crc, data.ptr, data.len);
#endif
}

const char *gpa_build_info(void)
{
#ifdef GPA_LIBDEFLATE
	return OPENSSL_VERSION_TEXT ", zlib " ZLIB_VERSION ", libdeflate " LIBDEFLATE_VERSION_STRING;
#else
	return OPENSSL_VERSION_TEXT ", zlib " ZLIB_VERSION ", without libdeflate";
#endif
}

void oid_to_hex(char *hex, const unsigned char *oid, size_t size)
{
	static const char digits[] = "0123456789abcdef";
	for (size_t i = 0; i < size; i++) {
		hex[2 * i] = digits[oid[i] >> 4];
		hex[2 * i + 1] = digits[oid[i] & 15];
	}
	hex[2 * size] = 0;
}
