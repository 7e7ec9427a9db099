// The chat template that write() puts beside a tokenizer, for programs that render with Jinja; render_chat
// (text/chat.h) is the same in C++. Each line ends in -%} or -}} or begins with one, so no blank of the layout
// reaches the output, with and without Jinja's trim_blocks and lstrip_blocks.
#pragma once
#include <string>

namespace ov {

// A template with these words puts a line end after a picture (ChatOptions::line_after_picture).
inline constexpr const char* line_after_picture_mark = "after_picture";

inline constexpr const char* full_chat_template =
    R"jinja({#- One turn is <|im_start|>role, a line end, what was said, <|im_end|>, a line end. -#}
{%- set shown = namespace(pictures=0, videos=0) -%}
{%- set line = namespace(after_picture=false) -%}
{%- if messages and messages[0]['role'] != 'system' -%}
  {{- '<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n' -}}
{%- endif -%}
{%- for turn in messages -%}
  {{- '<|im_start|>' ~ turn['role'] ~ '\n' -}}
  {%- set line.after_picture = false -%}
  {%- if turn['content'] is string -%}
    {{- turn['content'] -}}
  {%- else -%}
    {%- for part in turn['content'] -%}
      {{- '\n' if line.after_picture and (part['text'] is not string or part['text'][:1] not in ['', '\n']) else '' -}}
      {%- set line.after_picture = part['text'] is not string -%}
      {%- if part['type'] == 'image' or 'image' in part or 'image_url' in part -%}
        {%- set shown.pictures = shown.pictures + 1 -%}
        {%- if add_vision_id -%}
          {{- 'Picture ' ~ shown.pictures ~ ': ' -}}
        {%- endif -%}
        {{- '<|vision_start|><|image_pad|><|vision_end|>' -}}
      {%- elif part['type'] == 'video' or 'video' in part -%}
        {%- set shown.videos = shown.videos + 1 -%}
        {%- if add_vision_id -%}
          {{- 'Video ' ~ shown.videos ~ ': ' -}}
        {%- endif -%}
        {{- '<|vision_start|><|video_pad|><|vision_end|>' -}}
      {%- elif 'text' in part -%}
        {{- part['text'] -}}
      {%- endif -%}
    {%- endfor -%}
  {%- endif -%}
  {{- '<|im_end|>\n' -}}
{%- endfor -%}
{%- if add_generation_prompt -%}
  {{- '<|im_start|>assistant\n' -}}
{%- endif -%}
)jinja";

// Qwen2.5-VL's template, or with a line end after each picture that something follows.
inline std::string chat_template(bool line_after_picture) {
  std::string out = full_chat_template;
  for (std::size_t at; !line_after_picture && (at = out.find(line_after_picture_mark)) != out.npos;) {
    const std::size_t begin = out.rfind('\n', at) + 1;
    out.erase(begin, out.find('\n', at) + 1 - begin);
  }
  return out;
}

}  // namespace ov
