"""A chat request's way through the engine: checked, rendered, decoded, answered; knows no routes."""

import asyncio
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from engine.adapters import AdapterStore
from engine.completions import CompletionWriter, Json
from engine.errors import NotFoundError, RequestError
from engine.generation import Delta, Generation
from engine.lora import Adapter
from engine.metrics import EngineMetrics
from engine.model import LanguageModel
from engine.rendering import TokenNames, render_prompt
from engine.replying import Ending, ReplyText
from engine.sampling import SamplerRow, Sampling
from engine.scheduler import Scheduler
from engine.schemas import ChatCompletionRequest, plain_messages


@dataclass(slots=True)
class Reply:
    """A request under way: what it says on the wire and where its deltas come from."""

    writer: CompletionWriter
    generation: Generation
    deltas: "asyncio.Queue[Delta | RequestError]"

    async def whole(self) -> Json:
        """Wait for the end."""
        delta = await self.deltas.get()
        if isinstance(delta, RequestError):
            raise delta
        return self.writer.whole(delta)

    async def chunks(self) -> AsyncIterator[Json]:
        """Each step as it comes."""
        is_first = True
        while True:
            delta = await self.deltas.get()
            if isinstance(delta, RequestError):
                raise delta
            if is_first:
                yield self.writer.first_chunk()
                is_first = False
            yield self.writer.chunk(delta)
            if delta.finish_reason is not None:
                break
        if (usage := self.writer.usage_chunk()) is not None:
            yield usage


@dataclass(slots=True)
class Engine:
    """What the routes call."""

    model: LanguageModel
    served_name: str
    adapters: AdapterStore
    scheduler: Scheduler
    metrics: EngineMetrics
    names: TokenNames
    # One thread: templates take a millisecond, and a tokenizer must not be used by two threads at once.
    renderer: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(1, "render"))

    async def begin(self, request: ChatCompletionRequest) -> Reply:
        """Check and render a request, and put it in line."""
        self.scheduler.knock()
        try:
            request.check()
            adapter = self._find_adapter(request.model)
            prompt_ids = await asyncio.get_running_loop().run_in_executor(self.renderer, self._render, request)
            deltas: asyncio.Queue[Delta | RequestError] = asyncio.Queue()
            generation = self._generation(request, prompt_ids, adapter, deltas)
            self.scheduler.submit(generation)
        finally:
            self.scheduler.unknock()
        name = adapter.name if adapter else self.served_name
        return Reply(CompletionWriter(request, name, prompt_ids, self.names), generation, deltas)

    def _find_adapter(self, name: str | None) -> Adapter | None:
        if not name or name == self.served_name:
            return None
        adapter = self.adapters.find(name)
        if adapter is None:
            raise NotFoundError(f"The model `{name}` does not exist.", param="model")
        return adapter

    def _render(self, request: ChatCompletionRequest) -> list[int]:
        return render_prompt(
            self.model,
            plain_messages(request.messages),
            request.tools,
            add_generation_prompt=request.add_generation_prompt,
            continue_final_message=request.continue_final_message,
            template_kwargs=request.chat_template_kwargs or {},
        )

    def _generation(
        self,
        request: ChatCompletionRequest,
        prompt_ids: list[int],
        adapter: Adapter | None,
        deltas: "asyncio.Queue[Delta | RequestError]",
    ) -> Generation:
        ending = self._ending(request, len(prompt_ids))
        ends = {ending.eos_token_id, self.model.eos_token_id, *self.model.more_eos_token_ids, *ending.stop_token_ids}
        return Generation(
            prompt_ids=prompt_ids,
            sampler=SamplerRow(self._sampling(request)),
            adapter=adapter,
            suppressed=[token for token in ends if token is not None] if ending.min_tokens else [],
            ending=ending,
            reply=ReplyText(
                self.model.tokenizer.backend_tokenizer,
                prompt_ids,
                ending,
                skip_special_tokens=request.skip_special_tokens,
            ),
            streams=bool(request.stream),
            listen=deltas.put_nowait,
        )

    def _ending(self, request: ChatCompletionRequest, prompt_length: int) -> Ending:
        room = self.model.max_model_len - prompt_length
        wanted = request.wanted_tokens
        if wanted is not None and wanted > self.model.max_model_len:
            raise RequestError(
                f"max_tokens={wanted} cannot be greater than max_model_len={self.model.max_model_len}. "
                "Please request fewer output tokens.",
                param="max_tokens",
            )
        max_tokens = min(room, wanted or room)
        if request.min_tokens > max_tokens:
            raise RequestError(
                f"min_tokens must be less than or equal to max_tokens={max_tokens}, got {request.min_tokens}.",
                param="min_tokens",
            )
        vocabulary = self.model.network.config.get_text_config().vocab_size
        stop_token_ids = frozenset(request.stop_token_ids or ())
        if any(not 0 <= token < vocabulary for token in stop_token_ids):
            raise RequestError(f"stop_token_ids must be between 0 and {vocabulary - 1}.", param="stop_token_ids")
        return Ending(
            max_tokens=max_tokens,
            min_tokens=request.min_tokens,
            eos_token_id=None if request.ignore_eos else self.model.eos_token_id,
            stop_token_ids=stop_token_ids | (frozenset() if request.ignore_eos else self.model.more_eos_token_ids),
            stop_strings=request.stop_strings,
            include_stop_string=request.include_stop_str_in_output,
        )

    def _sampling(self, request: ChatCompletionRequest) -> Sampling:
        presets = self.model.presets
        temperature = presets.get("temperature", 1.0) if request.temperature is None else request.temperature
        top_k = presets.get("top_k", 0) if request.top_k is None else request.top_k
        return Sampling(
            temperature=temperature,
            top_p=presets.get("top_p", 1.0) if request.top_p is None else request.top_p,
            top_k=max(top_k, 0),
            seed=request.seed,
            wants_logprobs=bool(request.logprobs),
            top_logprobs=request.top_logprobs,
        )
