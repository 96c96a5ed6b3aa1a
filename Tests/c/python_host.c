/* A product that embeds Python: a stream that C made is stepped by C, then by Python, then by C again.
 *
 *     python_host <python program>    whose installation is embedded; PYTHONPATH holds cadenza and numpy */
#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include "support.h"

static const char SCRIPT[] =
    "import cadenza, numpy\n"
    "stream = cadenza.Stream.from_handle(address)\n"
    "assert stream.position.tolist() == [10], stream.position\n"
    "assert stream.model.fingerprint == fingerprint\n"
    "samples = numpy.frombuffer(samples, numpy.float32).reshape(-1, 3)\n"
    "answers = numpy.array([stream.step(sample) for sample in samples], numpy.float32).tobytes()\n"
    "del stream\n";

/* Steps rows [from, to) in Python; the answers' bytes go to `out`. */
static int step_in_python(cadenza_stream *stream, uint64_t fingerprint, const float *samples, size_t count, float *out) {
    PyObject *names = PyDict_New();
    PyDict_SetItemString(names, "__builtins__", PyEval_GetBuiltins());
    PyDict_SetItemString(names, "address", PyLong_FromVoidPtr(stream));
    PyDict_SetItemString(names, "fingerprint", PyLong_FromUnsignedLongLong(fingerprint));
    PyDict_SetItemString(names, "samples", PyBytes_FromStringAndSize((const char *)samples, (Py_ssize_t)(count * sizeof(float[3]))));
    PyObject *done = PyRun_String(SCRIPT, Py_file_input, names, names);
    PyObject *answers = done ? PyDict_GetItemString(names, "answers") : NULL;
    int fits = answers && PyBytes_Size(answers) == (Py_ssize_t)(count * sizeof(float));
    if (fits) memcpy(out, PyBytes_AsString(answers), count * sizeof(float));
    if (!done) PyErr_Print();
    Py_XDECREF(done);
    Py_DECREF(names);
    return fits;
}

int main(int argc, char **argv) {
    check_begin();
    if (argc < 2) return 2;
    PyConfig config;
    PyConfig_InitPythonConfig(&config);
    PyConfig_SetBytesString(&config, &config.program_name, argv[1]);
    PyStatus status = Py_InitializeFromConfig(&config);
    PyConfig_Clear(&config);
    if (PyStatus_Exception(status)) Py_ExitStatusException(status);

    enum { STEPS = 30 };
    float *samples = random_floats(STEPS * 3, 4), expected[STEPS], answers[STEPS];
    cadenza_model *model = load(RAIN_KERAS);
    cadenza_stream *whole = NULL, *stream = NULL;
    uint64_t fingerprint = 0, position = 0;
    CHECK_OK(cadenza_model_fingerprint(model, &fingerprint));
    CHECK_OK(cadenza_stream_create(model, 1, &whole));
    CHECK_OK(cadenza_stream_run(whole, STEPS, samples, expected));

    CHECK_OK(cadenza_stream_create(model, 1, &stream));
    cadenza_model_release(model);
    CHECK_OK(cadenza_stream_run(stream, 10, samples, answers));
    CHECK(step_in_python(stream, fingerprint, samples + 30, 10, answers + 10));
    CHECK_OK(cadenza_stream_position(stream, 0, &position));
    CHECK(position == 20);
    CHECK_OK(cadenza_stream_run(stream, 10, samples + 60, answers + 20));
    CHECK(same_bits(answers, expected, STEPS));

    cadenza_stream_release(stream), cadenza_stream_release(whole);
    free(samples);
    CHECK(Py_FinalizeEx() == 0);
    return check_end("python_host");
}
