/* The hot paths of masking.py and frames.py in C.
 *
 * Each function has a twin of the same name in Python, which tells what it does; this file
 * tells only how. It is optional: without it, everything works, and more slowly. It uses the
 * stable ABI, so that one build serves Python 3.11 and all that follow.
 */

#define PY_SSIZE_T_CLEAN
#define Py_LIMITED_API 0x030B0000
#include <Python.h>
#include <stdint.h>
#include <string.h>

#define TEXT_FRAME 0x81
#define BINARY_FRAME 0x82
#define MASKED 0x80
#define KEY_SIZE 4

/* Text up to this size is unmasked on the stack before it is decoded. */
#define STACK_SIZE 4096

/* XOR src with the key into dst, in words: the compiler makes vectors of them. */
static void
mask_into(uint8_t *dst, const uint8_t *src, Py_ssize_t size, const uint8_t *key)
{
    uint64_t wide;
    Py_ssize_t i = 0;

    memcpy(&wide, key, KEY_SIZE);
    memcpy((uint8_t *)&wide + KEY_SIZE, key, KEY_SIZE);
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

static PyObject *
speedups_build_frame(PyObject *module, PyObject *const *args, Py_ssize_t count)
{
    Py_buffer payload;
    uint8_t key[KEY_SIZE];
    uint8_t header[14];
    int has_key, size = 2, i;
    long first_byte;
    PyObject *source, *result;

    if (count != 3) {
        PyErr_SetString(PyExc_TypeError, "build_frame takes 3 arguments");
        return NULL;
    }
    first_byte = PyLong_AsLong(args[0]);
    if (first_byte == -1 && PyErr_Occurred()) {
        return NULL;
    }
    if (get_key(args[2], key, &has_key) < 0) {
        return NULL;
    }
    source = args[1];
    if (PyUnicode_Check(source)) {
        /* Not PyUnicode_AsUTF8AndSize, which would keep the bytes as long as the text lives. */
        source = PyUnicode_AsUTF8String(source);
        if (source == NULL) {
            return NULL;
        }
    }
    else {
        Py_INCREF(source);
    }
    if (PyObject_GetBuffer(source, &payload, PyBUF_SIMPLE) < 0) {
        Py_DECREF(source);
        return NULL;
    }
    header[0] = (uint8_t)first_byte;
    if (payload.len < 126) {
        header[1] = (uint8_t)payload.len;
    }
    else {
        int width = payload.len < 0x10000 ? 2 : 8;
        header[1] = width == 2 ? 126 : 127;
        for (i = 0; i < width; i++) {
            header[size + i] = (uint8_t)((uint64_t)payload.len >> (8 * (width - 1 - i)));
        }
        size += width;
    }
    if (has_key) {
        header[1] |= MASKED;
        memcpy(header + size, key, KEY_SIZE);
        size += KEY_SIZE;
    }
    result = PyBytes_FromStringAndSize(NULL, size + payload.len);
    if (result != NULL) {
        uint8_t *out = (uint8_t *)PyBytes_AsString(result);
        memcpy(out, header, (size_t)size);
        if (has_key) {
            mask_into(out + size, payload.buf, payload.len, key);
        }
        else {
            memcpy(out + size, payload.buf, (size_t)payload.len);
        }
    }
    PyBuffer_Release(&payload);
    Py_DECREF(source);
    return result;
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

/* The offset behind the last message that could be cut off, or -1 with an exception. */
static Py_ssize_t
cut_all(const uint8_t *data, Py_ssize_t available, Py_ssize_t offset, int masked,
        uint64_t max_size, Py_ssize_t max_count, PyObject *out)
{
    Py_ssize_t count = PyList_Size(out);

    for (; available - offset >= 2 && count < max_count; count++) {
        const uint8_t *head = data + offset;
        uint64_t length = head[1] ^ (masked ? MASKED : 0);
        Py_ssize_t start = offset + 2;
        PyObject *message;
        int i, width, failed;

        if ((head[0] != TEXT_FRAME && head[0] != BINARY_FRAME) || length > 127) {
            break;
        }
        if (length > 125) {
            width = length == 126 ? 2 : 8;
            if (available - start < width) {
                break;
            }
            for (length = 0, i = 0; i < width; i++) {
                length = length << 8 | head[2 + i];
            }
            if (length < (width == 2 ? 126 : 0x10000)) {
                break;
            }
            start += width;
        }
        start += masked ? KEY_SIZE : 0;
        if (length > max_size || start > available ||
            length > (uint64_t)(available - start)) {
            break;
        }
        message = make_message(head[0] == TEXT_FRAME, data + start, (Py_ssize_t)length,
                               masked ? data + start - KEY_SIZE : NULL);
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
        offset = start + (Py_ssize_t)length;
    }
    return offset;
}

static PyObject *
speedups_cut_messages(PyObject *module, PyObject *const *args, Py_ssize_t count)
{
    Py_buffer buffer;
    Py_ssize_t offset, max_count;
    uint64_t max_size;
    int masked;

    if (count != 6) {
        PyErr_SetString(PyExc_TypeError, "cut_messages takes 6 arguments");
        return NULL;
    }
    offset = PyLong_AsSsize_t(args[1]);
    masked = PyObject_IsTrue(args[2]);
    max_size = PyLong_AsUnsignedLongLong(args[3]);
    max_count = PyLong_AsSsize_t(args[4]);
    if (PyErr_Occurred() || PyObject_GetBuffer(args[0], &buffer, PyBUF_SIMPLE) < 0) {
        return NULL;
    }
    if (offset < 0 || !PyList_Check(args[5])) {
        PyBuffer_Release(&buffer);
        PyErr_SetString(PyExc_ValueError, "offset must not be negative, out must be a list");
        return NULL;
    }
    offset = cut_all(buffer.buf, buffer.len, offset, masked, max_size, max_count,
                     args[5]);
    PyBuffer_Release(&buffer);
    return offset < 0 ? NULL : PyLong_FromSsize_t(offset);
}

static PyMethodDef methods[] = {
    {"apply_mask", (PyCFunction)(void (*)(void))speedups_apply_mask, METH_FASTCALL,
     "apply_mask(payload, key, /)"},
    {"build_frame", (PyCFunction)(void (*)(void))speedups_build_frame, METH_FASTCALL,
     "build_frame(first_byte, payload, masking_key, /)"},
    {"cut_messages", (PyCFunction)(void (*)(void))speedups_cut_messages, METH_FASTCALL,
     "cut_messages(buffer, offset, masked, max_size, max_count, out, /)"},
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
