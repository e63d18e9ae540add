"""Finds libsvqrt and declares its functions."""
import ctypes
import os
import pathlib
from ctypes import (CFUNCTYPE, POINTER, Structure, c_char_p, c_double, c_float, c_int, c_int32, c_int64, c_size_t, c_uint32,
                    c_uint64, c_void_p)


class Message(Structure):
    _fields_ = [("role", c_char_p), ("content", c_char_p)]


class ModelInfo(Structure):
    _fields_ = [(n, c_char_p) for n in ("name", "family", "method", "chat_format", "isa")] + \
               [(n, c_uint32) for n in ("n_layers", "hidden", "intermediate", "n_heads", "n_kv_heads", "head_dim", "vocab",
                                        "context_length")] + \
               [(n, c_uint64) for n in ("n_parameters", "file_bytes", "decode_bytes")] + \
               [("bits_per_weight", c_double), ("bos", c_int32), ("reserved", c_uint32 * 8)]


class GenerateResult(Structure):
    _fields_ = [("n_prompt", c_size_t), ("n_generated", c_size_t), ("prompt_seconds", c_double), ("generate_seconds", c_double),
                ("stop", c_int32), ("longest_step_us", c_uint32), ("reserved", c_uint32 * 6)]


StreamFn = CFUNCTYPE(c_int, c_void_p, c_size_t, c_int32, c_void_p)


def _load() -> ctypes.CDLL:
    beside = pathlib.Path(__file__).parent / "libsvqrt.so.0"
    path = os.environ.get("SVQRT_LIBRARY") or (str(beside) if beside.exists() else "libsvqrt.so.0")
    try:
        return ctypes.CDLL(path)
    except OSError as e:
        raise ImportError(f"libsvqrt cannot be loaded: {e}; install the package libsvqrt0, or name the file in SVQRT_LIBRARY") from None


lib = _load()

_P = c_void_p
_SIZE = POINTER(c_size_t)
_FUNCTIONS = {
    "svq_version_number": (c_uint32, []),
    "svq_version_string": (c_char_p, []),
    "svq_status_name": (c_char_p, [c_int]),
    "svq_last_error": (c_char_p, []),
    "svq_model_params_create": (_P, []),
    "svq_model_params_free": (None, [_P]),
    "svq_model_params_set": (c_int, [_P, c_int, c_int64]),
    "svq_model_load": (c_int, [c_char_p, _P, POINTER(_P)]),
    "svq_model_free": (None, [_P]),
    "svq_model_get_info": (c_int, [_P, POINTER(ModelInfo)]),
    "svq_model_describe": (c_int, [_P, c_int, POINTER(_P)]),
    "svq_model_verify": (c_int, [_P]),
    "svq_string_free": (None, [_P]),
    "svq_tokenize": (c_int, [_P, c_char_p, c_size_t, c_uint32, _P, _SIZE]),
    "svq_detokenize": (c_int, [_P, _P, c_size_t, c_int, _P, _SIZE]),
    "svq_token_is_end": (c_int, [_P, c_int32]),
    "svq_chat_tokenize": (c_int, [_P, _P, c_size_t, c_int, c_int, _P, _SIZE]),
    "svq_chat_tokenize_tools": (c_int, [_P, _P, c_size_t, c_char_p, c_int, c_int, _P, _SIZE]),
    "svq_tool_calls": (c_int, [_P, c_char_p, c_size_t, POINTER(_P)]),
    "svq_grammar_create": (c_int, [_P, c_int, c_char_p, c_size_t, POINTER(_P)]),
    "svq_grammar_free": (None, [_P]),
    "svq_session_params_create": (_P, []),
    "svq_session_params_free": (None, [_P]),
    "svq_session_params_set": (c_int, [_P, c_int, c_int64]),
    "svq_session_create": (c_int, [_P, _P, POINTER(_P)]),
    "svq_session_fork": (c_int, [_P, _P, POINTER(_P)]),
    "svq_session_free": (None, [_P]),
    "svq_session_eval": (c_int, [_P, _P, c_size_t]),
    "svq_sessions_eval": (c_int, [_P, _P, c_size_t]),
    "svq_session_logits": (POINTER(c_float), [_P]),
    "svq_session_position": (c_size_t, [_P]),
    "svq_session_context": (c_size_t, [_P]),
    "svq_session_truncate": (c_int, [_P, c_size_t]),
    "svq_session_cancel": (None, [_P]),
    "svq_session_save": (c_int, [_P, _P, _SIZE]),
    "svq_session_restore": (c_int, [_P, c_char_p, c_size_t]),
    "svq_session_set_limit": (c_int, [_P, c_int, c_int64]),
    "svq_session_set_sampler": (c_int, [_P, c_int, c_double]),
    "svq_session_set_grammar": (c_int, [_P, _P]),
    "svq_session_sample": (c_int, [_P, POINTER(c_int32)]),
    "svq_session_generate": (c_int, [_P, _P, c_size_t, c_size_t, StreamFn, _P, POINTER(GenerateResult)]),
}
for _name, (_result, _arguments) in _FUNCTIONS.items():
    _function = getattr(lib, _name)
    _function.restype = _result
    _function.argtypes = _arguments
if lib.svq_version_number() // 100 != 1:  # 0.1.x
    raise ImportError(f"libsvqrt {lib.svq_version_string().decode()} is not the 0.1 that this package was written for")
