/* The door to send_run for JavaScript, by Node-API: built once, it fits every later Node. */
#include <node_api.h>
#include <stdbool.h>

#include "send_run.h"

static napi_value refuse(napi_env env, const char *problem) {
  napi_throw_type_error(env, NULL, problem);
  return NULL;
}

static bool read_array(napi_env env, napi_value value, napi_typedarray_type wanted, void **data, size_t *length) {
  napi_typedarray_type type;
  return napi_get_typedarray_info(env, value, &type, length, data, NULL, NULL) == napi_ok && type == wanted;
}

/**
 * write(sockets: Int32Array, ends: Int32Array, frames: Uint8Array[], runs: number): void
 *
 * Run r sends frames[r] to the sockets from the end of the run before it up to ends[r]. The descriptors are replaced as
 * send_run says. All is looked at before anything is sent, so that it throws before or not at all. Nothing is allocated
 * here, and no JavaScript runs between the first socket and the last.
 */
static napi_value write_runs(napi_env env, napi_callback_info info) {
  napi_value args[4];
  size_t arg_count = 4;
  void *sockets, *ends, *bytes;
  size_t socket_count, end_count, length;
  uint32_t runs;
  if (napi_get_cb_info(env, info, &arg_count, args, NULL, NULL) != napi_ok || arg_count < 4 ||
      !read_array(env, args[0], napi_int32_array, &sockets, &socket_count) ||
      !read_array(env, args[1], napi_int32_array, &ends, &end_count) ||
      napi_get_value_uint32(env, args[3], &runs) != napi_ok) {
    return refuse(env, "Expected (Int32Array, Int32Array, Uint8Array[], number)");
  }
  if (runs > end_count) return refuse(env, "More runs than ends");
  size_t start = 0;
  for (uint32_t run = 0; run < runs; run++) {
    napi_value frame;
    if (napi_get_element(env, args[2], run, &frame) != napi_ok ||
        !read_array(env, frame, napi_uint8_array, &bytes, &length)) {
      return refuse(env, "Expected a Uint8Array for each run");
    }
    int32_t end = ((int32_t *)ends)[run];
    if (end < 0 || (size_t)end < start || (size_t)end > socket_count) return refuse(env, "A run ends out of bounds");
    start = (size_t)end;
  }
  start = 0;
  for (uint32_t run = 0; run < runs; run++) {
    napi_value frame;
    if (napi_get_element(env, args[2], run, &frame) != napi_ok ||
        !read_array(env, frame, napi_uint8_array, &bytes, &length)) {
      /* It was one a moment ago. The kernel took nothing of what is left: the streams are to write that. */
      for (size_t index = start; index < socket_count; index++) ((int32_t *)sockets)[index] = -1;
      return NULL;
    }
    size_t end = (size_t)((int32_t *)ends)[run];
    send_run((int32_t *)sockets + start, end - start, bytes, length);
    start = end;
  }
  return NULL;
}

NAPI_MODULE_INIT() {
  napi_value write;
  if (napi_create_function(env, "write", NAPI_AUTO_LENGTH, write_runs, NULL, &write) != napi_ok ||
      napi_set_named_property(env, exports, "write", write) != napi_ok) {
    return NULL;
  }
  return exports;
}
