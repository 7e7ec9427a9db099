// The chat template that write() puts beside a tokenizer, for programs that render with Jinja; render_chat
// (text/chat.h) is the same in C++. Each line ends in -%} or -}} or begins with one, so no blank of the layout
// reaches the output, with and without Jinja's trim_blocks and lstrip_blocks.
#pragma once

namespace ov {

inline constexpr const char* chat_template =
    R"jinja({#- One turn is <|im_start|>role, a line end, what was said, <|im_end|>, a line end. -#}
{%- set shown = namespace(pictures=0, videos=0) -%}
{%- if messages and messages[0]['role'] != 'system' -%}
  {{- '<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n' -}}
{%- endif -%}
{%- for turn in messages -%}
  {{- '<|im_start|>' ~ turn['role'] ~ '\n' -}}
  {%- if turn['content'] is string -%}
    {{- turn['content'] -}}
  {%- else -%}
    {%- for part in turn['content'] -%}
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

}  // namespace ov
