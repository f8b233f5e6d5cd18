/* The hot paths of masking.py, cutting.py, payloads.py and descriptors.py in C.
 *
 * Each function has a twin of the same name in Python, which tells what it does; this file
 * tells only how. It is optional: without it, everything works, and more slowly. It uses the
 * stable ABI, so that one build serves Python 3.11 and all that follow.
 */

#define PY_SSIZE_T_CLEAN
#define Py_LIMITED_API 0x030B0000
#include <Python.h>
#include <errno.h>
#include <stdint.h>
#include <string.h>
#ifndef _WIN32
#include <sys/socket.h>
#include <sys/uio.h>
#ifndef MSG_NOSIGNAL
#define MSG_NOSIGNAL 0
#endif
#endif

#define TEXT_FRAME 0x81
#define BINARY_FRAME 0x82
#define MASKED 0x80
#define OPCODE_AND_FIN 0x8F
#define KEY_SIZE 4
#define MAX_HEADER 14

/* Text up to this size is unmasked on the stack before it is decoded. */
#define STACK_SIZE 4096

/* XOR src with the key into dst, in words: the compiler makes vectors of them. The two may be
 * the same, and otherwise must not overlap. */
static void
mask_into(uint8_t *dst, const uint8_t *src, Py_ssize_t size, const uint8_t *key)
{
    uint64_t wide;
    Py_ssize_t i = 0;

    memcpy(&wide, key, KEY_SIZE);
    memcpy((uint8_t *)&wide + KEY_SIZE, key, KEY_SIZE);
    if (dst == src) { /* told apart, or the compiler would fear that they overlap */
        for (; i + 8 <= size; i += 8) {
            uint64_t word;
            memcpy(&word, dst + i, 8);
            word ^= wide;
            memcpy(dst + i, &word, 8);
        }
    }
    for (; i + 8 <= size; i += 8) {
        uint64_t word;
        memcpy(&word, src + i, 8);
        word ^= wide;
        memcpy(dst + i, &word, 8);
    }
    for (; i < size; i++) {
        dst[i] = src[i] ^ key[i % KEY_SIZE];
    }
}

static int
get_key(PyObject *object, uint8_t *key, int *has_key)
{
    Py_buffer view;

    if (PyObject_GetBuffer(object, &view, PyBUF_SIMPLE) < 0) {
        return -1;
    }
    *has_key = view.len != 0;
    if (view.len != 0 && view.len != KEY_SIZE) {
        PyBuffer_Release(&view);
        PyErr_SetString(PyExc_ValueError, "key must be 4 bytes");
        return -1;
    }
    memcpy(key, view.buf, (size_t)view.len);
    PyBuffer_Release(&view);
    return 0;
}

static PyObject *
speedups_apply_mask(PyObject *module, PyObject *const *args, Py_ssize_t count)
{
    Py_buffer payload;
    uint8_t key[KEY_SIZE];
    int has_key;
    PyObject *result;

    if (count != 2) {
        PyErr_SetString(PyExc_TypeError, "apply_mask takes 2 arguments");
        return NULL;
    }
    if (get_key(args[1], key, &has_key) < 0) {
        return NULL;
    }
    if (!has_key) {
        PyErr_SetString(PyExc_ValueError, "key must be 4 bytes");
        return NULL;
    }
    if (PyObject_GetBuffer(args[0], &payload, PyBUF_SIMPLE) < 0) {
        return NULL;
    }
    result = PyBytes_FromStringAndSize(NULL, payload.len);
    if (result != NULL) {
        mask_into((uint8_t *)PyBytes_AsString(result), payload.buf, payload.len, key);
    }
    PyBuffer_Release(&payload);
    return result;
}

/* What a frame is built of: its first byte, its payload, and the key if it is masked. */
struct parts {
    uint8_t header[MAX_HEADER];
    int header_size;
    uint8_t key[KEY_SIZE];
    int has_key;
    PyObject *source;
    Py_buffer payload;
};

static void
release_parts(struct parts *parts)
{
    PyBuffer_Release(&parts->payload);
    Py_DECREF(parts->source);
}

/* Fill `parts` from the arguments first_byte, payload and key; to be released if it returns 0. */
static int
get_parts(PyObject *const *args, struct parts *parts)
{
    uint8_t *header = parts->header;
    int size = 2, i;
    Py_ssize_t length;
    long first_byte = PyLong_AsLong(args[0]);

    if (first_byte == -1 && PyErr_Occurred()) {
        return -1;
    }
    if (get_key(args[2], parts->key, &parts->has_key) < 0) {
        return -1;
    }
    parts->source = args[1];
    if (PyUnicode_Check(parts->source)) {
        /* Not PyUnicode_AsUTF8AndSize, which would keep the bytes as long as the text lives. */
        parts->source = PyUnicode_AsUTF8String(parts->source);
        if (parts->source == NULL) {
            return -1;
        }
    }
    else {
        Py_INCREF(parts->source);
    }
    if (PyObject_GetBuffer(parts->source, &parts->payload, PyBUF_SIMPLE) < 0) {
        Py_DECREF(parts->source);
        return -1;
    }
    length = parts->payload.len;
    header[0] = (uint8_t)first_byte;
    if (length < 126) {
        header[1] = (uint8_t)length;
    }
    else {
        int width = length < 0x10000 ? 2 : 8;
        header[1] = width == 2 ? 126 : 127;
        for (i = 0; i < width; i++) {
            header[size + i] = (uint8_t)((uint64_t)length >> (8 * (width - 1 - i)));
        }
        size += width;
    }
    if (parts->has_key) {
        header[1] |= MASKED;
        memcpy(header + size, parts->key, KEY_SIZE);
        size += KEY_SIZE;
    }
    parts->header_size = size;
    return 0;
}

static void
write_parts(const struct parts *parts, uint8_t *out)
{
    memcpy(out, parts->header, (size_t)parts->header_size);
    out += parts->header_size;
    if (parts->has_key) {
        mask_into(out, parts->payload.buf, parts->payload.len, parts->key);
    }
    else {
        memcpy(out, parts->payload.buf, (size_t)parts->payload.len);
    }
}

static PyObject *
join_parts(const struct parts *parts)
{
    PyObject *frame;

    frame = PyBytes_FromStringAndSize(NULL, parts->header_size + parts->payload.len);
    if (frame != NULL) {
        write_parts(parts, (uint8_t *)PyBytes_AsString(frame));
    }
    return frame;
}

static PyObject *
speedups_build_frame(PyObject *module, PyObject *const *args, Py_ssize_t count)
{
    struct parts parts;
    PyObject *frame;

    if (count != 3) {
        PyErr_SetString(PyExc_TypeError, "build_frame takes 3 arguments");
        return NULL;
    }
    if (get_parts(args, &parts) < 0) {
        return NULL;
    }
    frame = join_parts(&parts);
    release_parts(&parts);
    return frame;
}

/* A message's payload as str or bytes. NULL without an exception: it is not UTF-8. */
static PyObject *
make_message(int text, const uint8_t *payload, Py_ssize_t size, const uint8_t *key)
{
    uint8_t stack[STACK_SIZE];
    uint8_t *unmasked = stack;
    PyObject *message;

    if (!text) {
        message = PyBytes_FromStringAndSize(key ? NULL : (const char *)payload, size);
        if (message != NULL && key) {
            mask_into((uint8_t *)PyBytes_AsString(message), payload, size, key);
        }
        return message;
    }
    if (key) {
        if (size > STACK_SIZE) {
            unmasked = PyMem_Malloc((size_t)size);
            if (unmasked == NULL) {
                return PyErr_NoMemory();
            }
        }
        mask_into(unmasked, payload, size, key);
        payload = unmasked;
    }
    message = PyUnicode_DecodeUTF8((const char *)payload, size, "strict");
    if (unmasked != stack) {
        PyMem_Free(unmasked);
    }
    if (message == NULL && PyErr_ExceptionMatches(PyExc_UnicodeDecodeError)) {
        PyErr_Clear();
    }
    return message;
}

/* A frame that is whole, and that nothing about its header speaks against. */
struct frame {
    int first_byte;
    const uint8_t *payload;
    Py_ssize_t size;
    const uint8_t *key; /* or NULL */
    Py_ssize_t end;
};

/* Find the frame of a whole text or binary message at the offset; 0 if there is none. */
static int
find_frame(const uint8_t *data, Py_ssize_t available, Py_ssize_t offset, int masked, int rsv,
           uint64_t max_size, struct frame *frame)
{
    const uint8_t *head = data + offset;
    Py_ssize_t start = offset + 2;
    uint64_t length;
    int i, width, kind;

    if (available - offset < 2) {
        return 0;
    }
    kind = head[0] & ~rsv;
    length = head[1] ^ (masked ? MASKED : 0);
    if ((kind != TEXT_FRAME && kind != BINARY_FRAME) || length > 127) {
        return 0;
    }
    if (length > 125) {
        width = length == 126 ? 2 : 8;
        if (available - start < width) {
            return 0;
        }
        for (length = 0, i = 0; i < width; i++) {
            length = length << 8 | head[2 + i];
        }
        if (length < (width == 2 ? 126 : 0x10000)) {
            return 0;
        }
        start += width;
    }
    start += masked ? KEY_SIZE : 0;
    if (length > max_size || start > available || length > (uint64_t)(available - start)) {
        return 0;
    }
    frame->first_byte = head[0];
    frame->payload = data + start;
    frame->size = (Py_ssize_t)length;
    frame->key = masked ? data + start - KEY_SIZE : NULL;
    frame->end = start + (Py_ssize_t)length;
    return 1;
}

/* The offset behind the last message that could be cut off, or -1 with an exception. */
static Py_ssize_t
cut_all(const uint8_t *data, Py_ssize_t available, Py_ssize_t offset, int masked,
        uint64_t max_size, Py_ssize_t max_count, PyObject *out)
{
    Py_ssize_t count = PyList_Size(out);
    struct frame frame;

    for (; count < max_count; count++) {
        PyObject *message;
        int failed;

        if (!find_frame(data, available, offset, masked, 0, max_size, &frame)) {
            break;
        }
        message = make_message(frame.first_byte == TEXT_FRAME, frame.payload, frame.size,
                               frame.key);
        if (message == NULL) {
            if (PyErr_Occurred()) {
                return -1;
            }
            break;
        }
        failed = PyList_Append(out, message);
        Py_DECREF(message);
        if (failed) {
            return -1;
        }
        offset = frame.end;
    }
    return offset;
}

/* How to cut: the arguments masked, max_size, max_count and out of two functions. */
struct cutting {
    int masked;
    uint64_t max_size;
    Py_ssize_t max_count;
    PyObject *out;
};

static int
get_cutting(PyObject *const *args, struct cutting *cutting)
{
    cutting->masked = PyObject_IsTrue(args[0]);
    cutting->max_size = PyLong_AsUnsignedLongLong(args[1]);
    cutting->max_count = PyLong_AsSsize_t(args[2]);
    cutting->out = args[3];
    if (PyErr_Occurred()) {
        return -1;
    }
    if (!PyList_Check(cutting->out)) {
        PyErr_SetString(PyExc_ValueError, "out must be a list");
        return -1;
    }
    return 0;
}

static PyObject *
speedups_cut_messages(PyObject *module, PyObject *const *args, Py_ssize_t count)
{
    Py_buffer buffer;
    Py_ssize_t offset;
    struct cutting cutting;

    if (count != 6) {
        PyErr_SetString(PyExc_TypeError, "cut_messages takes 6 arguments");
        return NULL;
    }
    offset = PyLong_AsSsize_t(args[1]);
    if (offset < 0) {
        if (!PyErr_Occurred()) {
            PyErr_SetString(PyExc_ValueError, "offset must not be negative");
        }
        return NULL;
    }
    if (get_cutting(args + 2, &cutting) < 0 ||
        PyObject_GetBuffer(args[0], &buffer, PyBUF_SIMPLE) < 0) {
        return NULL;
    }
    offset = cut_all(buffer.buf, buffer.len, offset, cutting.masked, cutting.max_size,
                     cutting.max_count, cutting.out);
    PyBuffer_Release(&buffer);
    return offset < 0 ? NULL : PyLong_FromSsize_t(offset);
}

static PyObject *
speedups_cut_frame(PyObject *module, PyObject *const *args, Py_ssize_t count)
{
    Py_buffer buffer;
    Py_ssize_t offset;
    int masked, rsv;
    uint64_t max_size;
    struct frame frame;
    PyObject *payload, *result = NULL;

    if (count != 5) {
        PyErr_SetString(PyExc_TypeError, "cut_frame takes 5 arguments");
        return NULL;
    }
    offset = PyLong_AsSsize_t(args[1]);
    masked = PyObject_IsTrue(args[2]);
    rsv = (int)PyLong_AsLong(args[3]) & ~OPCODE_AND_FIN;
    max_size = PyLong_AsUnsignedLongLong(args[4]);
    if (PyErr_Occurred()) {
        return NULL;
    }
    if (offset < 0) {
        PyErr_SetString(PyExc_ValueError, "offset must not be negative");
        return NULL;
    }
    if (PyObject_GetBuffer(args[0], &buffer, PyBUF_SIMPLE) < 0) {
        return NULL;
    }
    if (!find_frame(buffer.buf, buffer.len, offset, masked, rsv, max_size, &frame)) {
        PyBuffer_Release(&buffer);
        Py_RETURN_NONE;
    }
    payload = make_message(0, frame.payload, frame.size, frame.key);
    PyBuffer_Release(&buffer);
    if (payload != NULL) {
        result = Py_BuildValue("(iNn)", frame.first_byte, payload, frame.end);
    }
    return result;
}

/* A payload that is still being filled: a bytes object that nobody else has seen yet, or a
 * bytearray. */
static int
get_payload(PyObject *payload, uint8_t **start, Py_ssize_t *size)
{
    if (PyBytes_Check(payload)) {
        *start = (uint8_t *)PyBytes_AsString(payload);
        *size = PyBytes_Size(payload);
        return 0;
    }
    if (PyByteArray_Check(payload)) {
        *start = (uint8_t *)PyByteArray_AsString(payload);
        *size = PyByteArray_Size(payload);
        return 0;
    }
    PyErr_SetString(PyExc_TypeError, "payload must be bytes or a bytearray");
    return -1;
}

static int
get_filled(PyObject *object, Py_ssize_t size, Py_ssize_t *filled)
{
    *filled = PyLong_AsSsize_t(object);
    if (*filled == -1 && PyErr_Occurred()) {
        return -1;
    }
    if (*filled < 0 || *filled > size) {
        PyErr_SetString(PyExc_ValueError, "filled must be within the payload");
        return -1;
    }
    return 0;
}

static PyObject *
speedups_new_payload(PyObject *module, PyObject *object)
{
    Py_ssize_t size = PyLong_AsSsize_t(object);

    if (size == -1 && PyErr_Occurred()) {
        return NULL;
    }
    if (size < 2) {
        PyErr_SetString(PyExc_ValueError, "size must be at least 2"); /* others are shared */
        return NULL;
    }
    return PyBytes_FromStringAndSize(NULL, size);
}

static PyObject *
speedups_fill_payload(PyObject *module, PyObject *const *args, Py_ssize_t count)
{
    uint8_t key[KEY_SIZE], turned[KEY_SIZE];
    uint8_t *start;
    Py_ssize_t filled, size, i;
    int has_key;
    Py_buffer data;

    if (count != 4) {
        PyErr_SetString(PyExc_TypeError, "fill_payload takes 4 arguments");
        return NULL;
    }
    if (get_payload(args[0], &start, &size) < 0 || get_filled(args[1], size, &filled) < 0 ||
        get_key(args[3], key, &has_key) < 0 ||
        PyObject_GetBuffer(args[2], &data, PyBUF_SIMPLE) < 0) {
        return NULL;
    }
    if (data.len > size - filled) {
        PyBuffer_Release(&data);
        PyErr_SetString(PyExc_ValueError, "data must fit in the payload");
        return NULL;
    }
    if (has_key) {
        for (i = 0; i < KEY_SIZE; i++) {
            turned[i] = key[(filled + i) % KEY_SIZE];
        }
        mask_into(start + filled, data.buf, data.len, turned);
    }
    else if (start + filled != data.buf) {
        memcpy(start + filled, data.buf, (size_t)data.len);
    }
    size = filled + data.len;
    PyBuffer_Release(&data);
    return PyLong_FromSsize_t(size);
}

static PyObject *
speedups_payload_room(PyObject *module, PyObject *const *args, Py_ssize_t count)
{
    uint8_t *start;
    Py_ssize_t filled, size;

    if (count != 2) {
        PyErr_SetString(PyExc_TypeError, "payload_room takes 2 arguments");
        return NULL;
    }
    if (get_payload(args[0], &start, &size) < 0 || get_filled(args[1], size, &filled) < 0) {
        return NULL;
    }
    return PyMemoryView_FromMemory((char *)start + filled, size - filled, PyBUF_WRITE);
}

#ifndef _WIN32

static int
get_descriptor(PyObject *object)
{
    long fd = PyLong_AsLong(object);

    if (fd == -1 && PyErr_Occurred()) {
        return -1;
    }
    if (fd < 0 || fd > INT32_MAX) {
        errno = EBADF;
        PyErr_SetFromErrno(PyExc_OSError);
        return -1;
    }
    return (int)fd;
}

static int
would_block(void)
{
    return errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR;
}

static PyObject *
speedups_read_messages(PyObject *module, PyObject *const *args, Py_ssize_t count)
{
    Py_buffer buffer;
    Py_ssize_t size, offset;
    struct cutting cutting;
    int fd;

    if (count != 6) {
        PyErr_SetString(PyExc_TypeError, "read_messages takes 6 arguments");
        return NULL;
    }
    fd = get_descriptor(args[0]);
    if (fd < 0 || get_cutting(args + 2, &cutting) < 0 ||
        PyObject_GetBuffer(args[1], &buffer, PyBUF_WRITABLE) < 0) {
        return NULL;
    }
    /* It never blocks, so there is no need to let other threads run meanwhile. */
    size = recv(fd, buffer.buf, (size_t)buffer.len, MSG_DONTWAIT);
    if (size < 0) {
        int blocks = would_block();
        if (!blocks) {
            PyErr_SetFromErrno(PyExc_OSError);
        }
        PyBuffer_Release(&buffer);
        if (blocks) {
            Py_RETURN_NONE;
        }
        return NULL;
    }
    offset = cut_all(buffer.buf, size, 0, cutting.masked, cutting.max_size,
                     cutting.max_count, cutting.out);
    PyBuffer_Release(&buffer);
    return offset < 0 ? NULL : Py_BuildValue("(nn)", size, offset);
}

/* Write all of the parts that goes at once: how many bytes, or -1 with `errno` set. */
static Py_ssize_t
send_parts(int fd, const struct parts *parts)
{
    uint8_t small[STACK_SIZE];
    Py_ssize_t size = parts->header_size + parts->payload.len;
    struct iovec vector[2];
    struct msghdr message;

    if (size <= STACK_SIZE) {
        write_parts(parts, small);
        return send(fd, small, (size_t)size, MSG_DONTWAIT | MSG_NOSIGNAL);
    }
    vector[0].iov_base = (void *)parts->header;
    vector[0].iov_len = (size_t)parts->header_size;
    vector[1].iov_base = parts->payload.buf;
    vector[1].iov_len = (size_t)parts->payload.len;
    memset(&message, 0, sizeof(message));
    message.msg_iov = vector;
    message.msg_iovlen = 2;
    return sendmsg(fd, &message, MSG_DONTWAIT | MSG_NOSIGNAL);
}

static PyObject *
speedups_write_frame(PyObject *module, PyObject *const *args, Py_ssize_t count)
{
    struct parts parts;
    Py_ssize_t size, written;
    PyObject *frame = NULL, *result = NULL;
    int fd;

    if (count != 4) {
        PyErr_SetString(PyExc_TypeError, "write_frame takes 4 arguments");
        return NULL;
    }
    fd = get_descriptor(args[0]);
    if (fd < 0 || get_parts(args + 1, &parts) < 0) {
        return NULL;
    }
    size = parts.header_size + parts.payload.len;
    if (parts.has_key && size > STACK_SIZE) {
        frame = join_parts(&parts); /* as it is masked, it is not the payload that is sent */
        if (frame == NULL) {
            release_parts(&parts);
            return NULL;
        }
        written = send(fd, PyBytes_AsString(frame), (size_t)size,
                       MSG_DONTWAIT | MSG_NOSIGNAL);
    }
    else {
        written = send_parts(fd, &parts);
    }
    if (written < 0 && !would_block()) {
        PyErr_SetFromErrno(PyExc_OSError);
    }
    else if (written == size) {
        result = PyLong_FromSsize_t(size);
    }
    else {
        written = written < 0 ? 0 : written;
        if (frame == NULL) {
            frame = join_parts(&parts);
        }
        if (frame != NULL) {
            result = Py_BuildValue("(ny#)", written, PyBytes_AsString(frame) + written,
                                   size - written);
        }
    }
    Py_XDECREF(frame);
    release_parts(&parts);
    return result;
}

/* Write the same bytes to each descriptor; what came of it takes the descriptor's place. */
static void
send_to_all(int *numbers, Py_ssize_t count, const Py_buffer *data)
{
    Py_ssize_t i, written;

    for (i = 0; i < count; i++) {
        written = send(numbers[i], data->buf, (size_t)data->len, MSG_DONTWAIT | MSG_NOSIGNAL);
        if (written < 0) {
            written = would_block() ? 0 : -errno;
        }
        numbers[i] = (int)written;
    }
}

/* Returns a new list, or NULL with an exception set. */
static PyObject *
send_to_list(PyObject *descriptors, int *numbers, Py_ssize_t count, const Py_buffer *data)
{
    PyObject *results, *number;
    Py_ssize_t i;

    for (i = 0; i < count; i++) {
        numbers[i] = get_descriptor(PyList_GetItem(descriptors, i));
        if (numbers[i] < 0) {
            return NULL;
        }
    }
    results = PyList_New(count);
    if (results == NULL) {
        return NULL;
    }
    Py_BEGIN_ALLOW_THREADS /* as there may be very many */
    send_to_all(numbers, count, data);
    Py_END_ALLOW_THREADS
    for (i = 0; i < count; i++) {
        number = PyLong_FromLong(numbers[i]);
        if (number == NULL) {
            Py_DECREF(results);
            return NULL;
        }
        PyList_SetItem(results, i, number);
    }
    return results;
}

static PyObject *
speedups_write_each(PyObject *module, PyObject *const *args, Py_ssize_t count)
{
    Py_buffer data;
    PyObject *results = NULL;
    int *numbers;

    if (count != 2 || !PyList_Check(args[0])) {
        PyErr_SetString(PyExc_TypeError, "write_each takes a list and a buffer");
        return NULL;
    }
    if (PyObject_GetBuffer(args[1], &data, PyBUF_SIMPLE) < 0) {
        return NULL;
    }
    count = PyList_Size(args[0]);
    numbers = PyMem_Malloc((size_t)count * sizeof(int) + 1);
    if (numbers == NULL) {
        PyErr_NoMemory();
    }
    else {
        results = send_to_list(args[0], numbers, count, &data);
        PyMem_Free(numbers);
    }
    PyBuffer_Release(&data);
    return results;
}

#endif

static PyMethodDef methods[] = {
    {"apply_mask", (PyCFunction)(void (*)(void))speedups_apply_mask, METH_FASTCALL,
     "apply_mask(payload, key, /)"},
    {"build_frame", (PyCFunction)(void (*)(void))speedups_build_frame, METH_FASTCALL,
     "build_frame(first_byte, payload, masking_key, /)"},
    {"cut_messages", (PyCFunction)(void (*)(void))speedups_cut_messages, METH_FASTCALL,
     "cut_messages(buffer, offset, masked, max_size, max_count, out, /)"},
    {"cut_frame", (PyCFunction)(void (*)(void))speedups_cut_frame, METH_FASTCALL,
     "cut_frame(buffer, offset, masked, rsv, max_size, /)"},
    {"new_payload", speedups_new_payload, METH_O, "new_payload(size, /)"},
    {"fill_payload", (PyCFunction)(void (*)(void))speedups_fill_payload, METH_FASTCALL,
     "fill_payload(payload, filled, data, key, /)"},
    {"payload_room", (PyCFunction)(void (*)(void))speedups_payload_room, METH_FASTCALL,
     "payload_room(payload, filled, /)"},
#ifndef _WIN32
    {"read_messages", (PyCFunction)(void (*)(void))speedups_read_messages, METH_FASTCALL,
     "read_messages(descriptor, scratch, masked, max_size, max_count, out, /)"},
    {"write_frame", (PyCFunction)(void (*)(void))speedups_write_frame, METH_FASTCALL,
     "write_frame(descriptor, first_byte, payload, masking_key, /)"},
    {"write_each", (PyCFunction)(void (*)(void))speedups_write_each, METH_FASTCALL,
     "write_each(descriptors, data, /)"},
#endif
    {NULL, NULL, 0, NULL},
};

static struct PyModuleDef module_definition = {
    PyModuleDef_HEAD_INIT,
    "trio_wsendpoint.protocol._speedups",
    "The hot paths of masking and frames in C.",
    0,
    methods,
    NULL,
    NULL,
    NULL,
    NULL,
};

PyMODINIT_FUNC
PyInit__speedups(void)
{
    return PyModuleDef_Init(&module_definition);
}
