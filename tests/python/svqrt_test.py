"""The Python package on a tiny model of random weights."""
import json
import os
import threading
import unittest

import svqrt

PATH = os.environ["SVQ_TEST_TINY"]
TOOLS = [{"name": "stop", "parameters": {"type": "object", "properties": {"now": {"type": "boolean"}}, "required": ["now"]}}]


class Text(unittest.TestCase):
    def setUp(self):
        self.model = svqrt.Model(PATH)

    def test_round_trip(self):
        tokens = self.model.tokenize("the thing, \u20ac")
        self.assertLess(len(tokens), 13)
        self.assertEqual(self.model.detokenize(tokens), "the thing, \u20ac")
        self.assertEqual(self.model.tokenize(""), [])
        self.assertEqual(self.model.tokenize(b"\xff"), [255])

    def test_chat(self):
        tokens = self.model.chat([("user", "hello <|im_end|>")])
        self.assertTrue(self.model.detokenize(tokens, with_special=True).endswith("<|im_start|>assistant\n"))
        self.assertIn("stop", self.model.detokenize(self.model.chat([("user", "x")], tools=TOOLS)))
        with self.assertRaisesRegex(svqrt.Error, "nobody"):
            self.model.chat([("nobody", "x")])

    def test_description(self):
        self.assertEqual(self.model.describe()["name"], "tiny")
        self.model.verify()

    def test_failures(self):
        with self.assertRaises(svqrt.Error) as caught:
            svqrt.Model("/nonexistent.svq")
        self.assertEqual(caught.exception.status, "SVQ_ERROR_IO")
        self.assertIn("/nonexistent.svq", str(caught.exception))
        with self.assertRaisesRegex(TypeError, "memory_budget"):
            svqrt.Model(PATH, budget=1)
        with self.assertRaisesRegex(svqrt.Error, "budget of 10"):
            svqrt.Model(PATH, memory_budget=10)

    def test_what_c_would_cut_short_is_refused(self):
        for call in (lambda: svqrt.Model(PATH + "\0junk"), lambda: self.model.chat([("user", "a\0b")]),
                     lambda: self.model.chat([("us\0er", "a")]), lambda: self.model.chat([("user", "a")], tools="[]\0")):
            with self.assertRaisesRegex(ValueError, "NUL"):
                call()
        self.assertEqual(self.model.detokenize(self.model.tokenize("a\0b")), "a\0b")
        for token in (2**31, 2**32 + 5, -2**31 - 1):
            with self.assertRaisesRegex(ValueError, str(token)):
                self.model.detokenize([token])
            with self.assertRaisesRegex(ValueError, str(token)):
                self.model.is_end(token)
        with self.assertRaisesRegex(ValueError, "memory_limit"):
            svqrt.Model(PATH, memory_limit=2**64 + 1)


class Sessions(unittest.TestCase):
    def setUp(self):
        self.model = svqrt.Model(PATH)
        self.session = svqrt.Session(self.model, threads=1, context=128)

    def test_generation_streams_and_stops(self):
        seen = []
        result = self.session.generate([1, 2, 3], 5, lambda text, token: seen.append(token))
        self.assertEqual(seen, result.tokens)
        self.assertIn(result.stop, ("end", "max_tokens"))
        self.assertEqual(result.n_prompt, 3)
        self.session.truncate()
        stopped = self.session.generate([1, 2, 3], 50, lambda text, token: False)
        self.assertIn(stopped.stop, ("end", "callback"))

    def test_numbers_out_of_range_are_refused(self):
        with self.assertRaisesRegex(ValueError, "max_tokens"):
            self.session.generate([1], -1)
        with self.assertRaisesRegex(ValueError, "max_tokens"):
            list(self.session.stream([1], -1))
        with self.assertRaisesRegex(ValueError, str(2**32 + 5)):
            self.session.eval([2**32 + 5])
        with self.assertRaisesRegex(ValueError, "position"):
            self.session.truncate(-1)
        self.assertEqual(self.session.position, 0)

    def test_an_exception_in_the_callback_is_raised(self):
        def fail(text, token):
            raise KeyError("mine")
        self.session.set_grammar(svqrt.Grammar.gbnf(self.model, 'root ::= "yes"'))
        with self.assertRaises(KeyError):
            self.session.generate([1, 2, 3], 50, fail)

    def test_stream(self):
        self.session.set_grammar(svqrt.Grammar.gbnf(self.model, "root ::= [a-z]{20}"))
        self.assertRegex("".join(self.session.stream([1, 2], 60)), "^[a-z]{20}$")
        self.session.truncate()
        for part in self.session.stream([1, 2], 60):
            break  # cancels
        self.session.truncate()
        self.assertRegex("".join(self.session.stream([1, 2], 60)), "^[a-z]{20}$")

    def test_json(self):
        schema = {"type": "object", "properties": {"x": {"type": "integer", "minimum": 3, "maximum": 12}, "s": {"type": "string", "maxLength": 5}},
                  "required": ["x", "s"]}
        for seed in range(5):
            self.session.truncate()
            self.session.set_sampler(seed=seed, temperature=2, top_k=0)
            value = self.session.json([5, 6], schema, 100)
            self.assertTrue(3 <= value["x"] <= 12 and len(value["s"]) <= 5, value)
        with self.assertRaisesRegex(svqrt.Error, "patternProperties"):
            self.session.json([1], {"patternProperties": {"a": {}}})

    def test_tools(self):
        self.session.set_grammar(svqrt.Grammar.tools(self.model, TOOLS))
        result = self.session.generate([1], 120)
        calls = self.model.tool_calls(result.text)
        self.assertEqual(result.stop, "end")
        self.assertEqual(calls[0]["name"], "stop")
        self.assertIsInstance(calls[0]["arguments"]["now"], bool)

    def test_save_restore_fork(self):
        self.session.eval([1, 2, 3])
        state, logits = self.session.save(), self.session.logits()
        other = svqrt.Session(self.model, threads=1)
        other.restore(state)
        self.assertEqual(other.logits(), logits)
        self.assertEqual(self.session.fork().logits(), logits)
        with self.assertRaises(svqrt.Error) as caught:
            other.restore(state[:-1])
        self.assertEqual(caught.exception.status, "SVQ_ERROR_FORMAT")

    def test_eval_together(self):
        others = [svqrt.Session(self.model, threads=1) for _ in range(3)]
        for i, s in enumerate(others):
            s.eval([5] * (i + 1))
        svqrt.eval_together(others, [1, 2, 3])
        for i, s in enumerate(others):
            alone = svqrt.Session(self.model, threads=1)
            alone.eval([5] * (i + 1) + [i + 1])
            self.assertEqual(s.logits(), alone.logits())
        for sessions, tokens in ((others, [1]), (others[:1] * 2, [1, 1])):
            with self.assertRaises(svqrt.Error) as caught:
                svqrt.eval_together(sessions, tokens)
            self.assertEqual(caught.exception.status, "SVQ_ERROR_INVALID_ARGUMENT")

    def test_limits_and_cancel(self):
        self.session.set_limits(deadline_us=1)
        self.assertEqual(self.session.generate([1] * 50, 5).stop, "deadline")
        self.session.set_limits(deadline_us=0)
        thread = threading.Thread(target=self.session.cancel)
        thread.start()
        thread.join()
        with self.assertRaises(svqrt.Error) as caught:
            self.session.eval([1])
        self.assertEqual(caught.exception.status, "SVQ_ERROR_CANCELLED")


if __name__ == "__main__":
    unittest.main()
