/* Contents of objects (object.h), and buffers that C allocates and the caller frees. */
#include <stdlib.h>

#include "base/object.h"

made_object *made_object_new(uint64_t size)
{
	made_object *made = size < SIZE_MAX - sizeof(*made) ? malloc(sizeof(*made) + size) : NULL;
	if (made) {
		made->owners = 1;
		made->type = 0;
		made->pack_id = 0;
		made->bytes = (gpa_bytes){made->room, size};
	}
	return made;
}

made_object *made_object_share(made_object *object)
{
	__atomic_add_fetch(&object->owners, 1, __ATOMIC_RELAXED);
	return object;
}

void made_object_drop(made_object *object)
{
	if (object && !__atomic_sub_fetch(&object->owners, 1, __ATOMIC_ACQ_REL))
		free(object);
}

gpa_object made_object_lend(made_object *object)
{
	return object ? (gpa_object){object->type, object->bytes.ptr, object->bytes.len, object} : (gpa_object){0};
}

void gpa_object_free(gpa_object *object)
{
	made_object_drop(object->owner);
	*object = (gpa_object){0};
}

void gpa_objects_free(gpa_object *objects, uint32_t count)
{
	for (uint32_t i = 0; i < count; i++)
		gpa_object_free(&objects[i]);
}

void gpa_buffer_free(gpa_buffer *buffer)
{
	free(buffer->ptr);
	buffer->ptr = NULL;
	buffer->len = 0;
}
