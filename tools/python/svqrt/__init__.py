"""libsvqrt for Python, by ctypes: load, tokenise, generate, stream, constrained output. svqrt.h is the reference."""
import json as _json
import queue as _queue
import threading as _threading
from ctypes import byref, c_char, c_int32, c_size_t, c_void_p, string_at
from operator import index as _index
from typing import Callable, Dict, Iterable, Iterator, List, NamedTuple, Optional, Sequence, Tuple, Union

from . import _library
from ._library import lib as _lib

__all__ = ["Model", "Session", "Grammar", "Error", "Result", "eval_together", "version"]
__version__ = "0.1.0"

_MODEL = {"verify": 1, "memory_limit": 2, "prefault": 3, "memory_budget": 4, "lock": 5, "device": 6, "gpu": 7,
          "gpu_mapped": 8}
_SESSION = {"context": 1, "threads": 2, "kv_bits": 3, "chunk": 4, "activations": 5, "pin_threads": 6, "affinity": 7, "shift": 8,
            "keep": 9, "priority": 10, "lock": 11, "gpu_priority": 12}
_LIMIT = {"deadline_us": 1, "cancel_us": 2, "duty_percent": 3, "duty_window_us": 4}
_SAMPLER = {"temperature": 1, "top_k": 2, "top_p": 3, "min_p": 4, "repetition_penalty": 5, "repetition_window": 6, "seed": 7}
_STOPS = ("end", "max_tokens", "callback", "context_full", "cancelled", "deadline")

Messages = Sequence[Tuple[str, str]]  # (role, content)


class Error(RuntimeError):
    """A failure: the library's sentence, and its status by name ("SVQ_ERROR_IO")."""

    def __init__(self, status: int, message: str):
        super().__init__(message)
        self.status = _lib.svq_status_name(status).decode()


def _check(status: int) -> None:
    if status != 0:
        raise Error(status, _lib.svq_last_error().decode("utf-8", "replace"))


def version() -> str:
    return _lib.svq_version_string().decode()


def _number(known: Dict[str, int], name: str) -> int:
    if name not in known:
        raise TypeError(f"unknown option {name!r}; known are {', '.join(known)}")
    return known[name]


def _filled(kind, call):
    """Calls once for the size and once for the content."""
    n = c_size_t(0)
    status = call(None, byref(n))
    if status not in (0, 10):  # SVQ_ERROR_BUFFER_TOO_SMALL
        _check(status)
    buffer = (kind * max(n.value, 1))()
    if n.value:
        _check(call(buffer, byref(n)))
    return buffer, n.value


# ctypes cuts numbers to a C type's width without a word, and a C string ends at its first NUL: both are refused.
def _whole(value: int, what: str, low: int, high: int) -> int:
    value = _index(value)
    if not low <= value <= high:
        raise ValueError(f"{what} is {value}, expected {low} to {high}")
    return value


def _c_string(value: bytes, what: str) -> bytes:
    if b"\0" in value:
        raise ValueError(f"{what} holds a NUL character")
    return value


def _token(token: int) -> int:
    return _whole(token, "a token", -2**31, 2**31 - 1)  # the library tells which of these the vocabulary has


def _size(value: int, what: str) -> int:
    return _whole(value, what, 0, 2**63 - 1)


def _int64(value: int, what: str) -> int:
    return _whole(int(value), what, -2**63, 2**63 - 1)


def _tokens(tokens: Iterable[int]):
    tokens = [_token(token) for token in tokens]
    return (c_int32 * max(len(tokens), 1))(*tokens), len(tokens)


def _text(value: Union[str, dict, list]) -> bytes:
    return (value if isinstance(value, str) else _json.dumps(value, ensure_ascii=False)).encode()


class Result(NamedTuple):
    text: str
    tokens: List[int]
    stop: str  # "end", "max_tokens", "callback", "context_full", "cancelled", "deadline"
    n_prompt: int
    prompt_seconds: float
    generate_seconds: float
    longest_step_us: int


class Model:
    """A loaded .svq file. Options as in svqrt.h: verify, memory_limit, prefault, memory_budget, lock, device, gpu,
    gpu_mapped."""

    def __init__(self, path: str, **options: int):
        self._handle = c_void_p()
        params = _lib.svq_model_params_create()
        try:
            for name, value in options.items():
                _check(_lib.svq_model_params_set(params, _number(_MODEL, name), _int64(value, name)))
            _check(_lib.svq_model_load(_c_string(str(path).encode(), "the path"), params, byref(self._handle)))
        finally:
            _lib.svq_model_params_free(params)

    def __del__(self):
        if getattr(self, "_handle", None):
            _lib.svq_model_free(self._handle)
            self._handle = None

    def describe(self, with_tensors: bool = False) -> dict:
        out = c_void_p()
        _check(_lib.svq_model_describe(self._handle, int(with_tensors), byref(out)))
        return _json.loads(_taken(out))

    def verify(self) -> None:
        _check(_lib.svq_model_verify(self._handle))

    def tokenize(self, text: Union[str, bytes], add_special: bool = True, parse_special: bool = False) -> List[int]:
        data = text.encode() if isinstance(text, str) else text
        flags = int(add_special) | int(parse_special) << 1
        out, n = _filled(c_int32, lambda b, size: _lib.svq_tokenize(self._handle, data, len(data), flags, b, size))
        return out[:n]

    def detokenize(self, tokens: Iterable[int], with_special: bool = False) -> str:
        ids, count = _tokens(tokens)
        out, n = _filled(c_char, lambda b, size: _lib.svq_detokenize(self._handle, ids, count, int(with_special), b, size))
        return out[:n].decode("utf-8", "replace")

    def is_end(self, token: int) -> bool:
        return bool(_lib.svq_token_is_end(self._handle, _token(token)))

    def chat(self, messages: Messages, continued: bool = False, open_answer: bool = True,
             tools: Union[str, list, None] = None) -> List[int]:
        """Messages [(role, content)] as tokens in the model's chat format; tools: a list of functions it may call."""
        array = (_library.Message * max(len(messages), 1))()
        for i, (role, content) in enumerate(messages):
            array[i] = _library.Message(_c_string(role.encode(), "a role"), _c_string(content.encode(), "a message"))
        if tools is None:
            call = lambda b, size: _lib.svq_chat_tokenize(self._handle, array, len(messages), int(continued), int(open_answer), b, size)
        else:
            listed = _c_string(_text(tools), "tools")
            call = lambda b, size: _lib.svq_chat_tokenize_tools(self._handle, array, len(messages), listed, int(continued),
                                                                int(open_answer), b, size)
        out, n = _filled(c_int32, call)
        return out[:n]

    def tool_calls(self, answer: str) -> List[dict]:
        """The calls in an answer: [{"name": …, "arguments": {…}}]."""
        data, out = answer.encode(), c_void_p()
        _check(_lib.svq_tool_calls(self._handle, data, len(data), byref(out)))
        return _json.loads(_taken(out))


def _taken(pointer: c_void_p) -> str:
    try:
        return string_at(pointer).decode()
    finally:
        _lib.svq_string_free(pointer)


class Grammar:
    """What a generation may be. Made for one model: Grammar.gbnf, Grammar.schema, Grammar.tools."""

    def __init__(self, model: Model, kind: int, text: Union[str, dict, list]):
        self._handle = c_void_p()
        data = _text(text)
        _check(_lib.svq_grammar_create(model._handle, kind, data, len(data), byref(self._handle)))

    def __del__(self):
        if getattr(self, "_handle", None):
            _lib.svq_grammar_free(self._handle)
            self._handle = None

    @classmethod
    def gbnf(cls, model: Model, text: str) -> "Grammar":
        return cls(model, 1, text)

    @classmethod
    def schema(cls, model: Model, schema: Union[str, dict]) -> "Grammar":
        return cls(model, 2, schema)

    @classmethod
    def tools(cls, model: Model, tools: Union[str, list], or_text: bool = False) -> "Grammar":
        return cls(model, 4 if or_text else 3, tools)


class Session:
    """One conversation. Options as in svqrt.h: context, threads, kv_bits, shift, keep, priority, … One thread at a time may use
    it; cancel() may be called from any."""

    def __init__(self, model: Model, _forked: Optional["Session"] = None, **options: int):
        self.model = model
        self._handle = c_void_p()
        params = _lib.svq_session_params_create()
        try:
            for name, value in options.items():
                _check(_lib.svq_session_params_set(params, _number(_SESSION, name), _int64(value, name)))
            if _forked is None:
                _check(_lib.svq_session_create(model._handle, params, byref(self._handle)))
            else:
                _check(_lib.svq_session_fork(_forked._handle, params, byref(self._handle)))
        finally:
            _lib.svq_session_params_free(params)

    def __del__(self):
        if getattr(self, "_handle", None):
            _lib.svq_session_free(self._handle)
            self._handle = None

    def fork(self, **options: int) -> "Session":
        """A session with the same context, which is shared, not copied."""
        return Session(self.model, _forked=self, **options)

    @property
    def position(self) -> int:
        return _lib.svq_session_position(self._handle)

    @property
    def context(self) -> int:
        return _lib.svq_session_context(self._handle)

    def set_limits(self, **limits: int) -> None:
        """deadline_us, cancel_us, duty_percent, duty_window_us."""
        for name, value in limits.items():
            _check(_lib.svq_session_set_limit(self._handle, _number(_LIMIT, name), _int64(value, name)))

    def set_sampler(self, **settings: float) -> None:
        """temperature, top_k, top_p, min_p, repetition_penalty, repetition_window, seed."""
        for name, value in settings.items():
            _check(_lib.svq_session_set_sampler(self._handle, _number(_SAMPLER, name), float(value)))

    def set_grammar(self, grammar: Optional[Grammar]) -> None:
        _check(_lib.svq_session_set_grammar(self._handle, grammar._handle if grammar is not None else None))

    def eval(self, tokens: Iterable[int]) -> None:
        ids, n = _tokens(tokens)
        _check(_lib.svq_session_eval(self._handle, ids, n))

    def logits(self) -> List[float]:
        pointer = _lib.svq_session_logits(self._handle)
        info = _library.ModelInfo()
        _check(_lib.svq_model_get_info(self.model._handle, byref(info)))
        return pointer[:info.vocab] if pointer else []

    def sample(self) -> int:
        out = c_int32()
        _check(_lib.svq_session_sample(self._handle, byref(out)))
        return out.value

    def truncate(self, position: int = 0) -> None:
        _check(_lib.svq_session_truncate(self._handle, _size(position, "position")))

    def cancel(self) -> None:
        _lib.svq_session_cancel(self._handle)

    def save(self) -> bytes:
        out, n = _filled(c_char, lambda b, size: _lib.svq_session_save(self._handle, b, size))
        return out[:n]

    def restore(self, state: bytes) -> None:
        _check(_lib.svq_session_restore(self._handle, state, len(state)))

    def generate(self, prompt: Iterable[int] = (), max_tokens: int = 256,
                 on_text: Optional[Callable[[str, int], Optional[bool]]] = None) -> Result:
        """on_text(text, token) is called for every token; returning False stops. An exception in it stops and is raised."""
        ids, n = _tokens(prompt)
        max_tokens = _size(max_tokens, "max_tokens")
        parts: List[str] = []
        tokens: List[int] = []
        failure: List[BaseException] = []

        def stream(text, size, token, _user):
            try:
                part = string_at(text, size).decode("utf-8", "replace")
                parts.append(part)
                tokens.append(token)
                return 1 if on_text is not None and on_text(part, token) is False else 0
            except BaseException as e:  # must not cross the library
                failure.append(e)
                return 1

        result = _library.GenerateResult()
        status = _lib.svq_session_generate(self._handle, ids, n, max_tokens, _library.StreamFn(stream), None, byref(result))
        if failure:
            raise failure[0]
        _check(status)
        return Result("".join(parts), tokens, _STOPS[result.stop], result.n_prompt, result.prompt_seconds, result.generate_seconds,
                      result.longest_step_us)

    def stream(self, prompt: Iterable[int] = (), max_tokens: int = 256) -> Iterator[str]:
        """The text as it comes. Leaving the loop ends the generation with the next token."""
        parts: "_queue.Queue" = _queue.Queue()
        left = _threading.Event()

        def on_text(text, token):
            parts.put(text)
            return not left.is_set()

        def work():
            try:
                self.generate(prompt, max_tokens, on_text)
                parts.put(None)
            except BaseException as e:
                parts.put(e)

        thread = _threading.Thread(target=work, daemon=True)
        thread.start()
        try:
            for part in iter(parts.get, None):
                if isinstance(part, BaseException):
                    raise part
                if part:
                    yield part
        finally:
            left.set()
            thread.join()

    def json(self, prompt: Iterable[int], schema: Union[str, dict], max_tokens: int = 256):
        """A value that satisfies the JSON Schema."""
        self.set_grammar(Grammar.schema(self.model, schema))
        try:
            result = self.generate(prompt, max_tokens)
        finally:
            self.set_grammar(None)
        if result.stop != "end":
            raise Error(11, f"the generation ended early ({result.stop}): {result.text!r}")
        return _json.loads(result.text)


def eval_together(sessions: Iterable[Session], tokens: Iterable[int]) -> None:
    """A token in each of several sessions of one model, reading the weights once; each gets what its own eval would give."""
    sessions = list(sessions)
    ids, n = _tokens(tokens)
    if n != len(sessions):
        raise Error(1, f"eval_together: {len(sessions)} sessions and {n} tokens")
    _check(_lib.svq_sessions_eval((c_void_p * n)(*(s._handle for s in sessions)), ids, n))
