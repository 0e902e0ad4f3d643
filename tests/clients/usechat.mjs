// The real `useChat` in a DOM of its own, pointed at a live server. Prints one JSON object per line of what a page sees:
//   {"event":"status",status} {"event":"data",type,data} {"event":"error",message} {"event":"finish",…}
//   {"event":"request",method,path,status} {"event":"messages",messages} {"event":"result",ok}
// Usage: node usechat.mjs API SCENARIO [--prompt TEXT] [--deadline SECONDS] [--headers JSON]
// Scenarios: text error stop resume regenerate two-turns. Exits 0 when the scenario has been played to its end,
// whatever the server answered (the caller judges the lines), 1 on an exception, 2 on wrong usage, 3 at the deadline.
import { JSDOM } from 'jsdom';
import { parseArgs } from 'node:util';

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    prompt: { type: 'string', default: 'Tell me a story' },
    deadline: { type: 'string', default: '30' },
    headers: { type: 'string', default: '{}' },
  },
});
const [api, scenario] = positionals;

function print(event, fields = {}) {
  process.stdout.write(`${JSON.stringify({ event, ...fields })}\n`);
}

setTimeout(() => {
  print('deadline', { scenario });
  process.exit(3);
}, Number(values.deadline) * 1000).unref();

// Only what React needs: `fetch` stays Node's own, so the page has no origin and no CORS.
const { window } = new JSDOM('<!doctype html><body></body>', { url: 'http://page.invalid/' });
Object.assign(globalThis, { window, document: window.document });
if (!globalThis.navigator) globalThis.navigator = window.navigator; // Node has its own from 21 on

const { createElement, useEffect } = await import('react');
const { createRoot } = await import('react-dom/client');
const { useChat } = await import('@ai-sdk/react');
const { DefaultChatTransport } = await import('ai');

/** One browser tab: a mounted component that uses the chat. `page.chat` is what `useChat` returned last. */
function openPage(tab, chatId) {
  const page = { tab, mounted: false, statuses: [], finishes: 0, chat: null };
  const transport = new DefaultChatTransport({
    api,
    headers: JSON.parse(values.headers),
    fetch: async (url, init) => {
      const response = await fetch(url, init);
      const path = new URL(url).pathname;
      const names = ['x-stream-dialect', 'x-conversation-id', 'content-type'];
      const headers = Object.fromEntries(names.map((name) => [name, response.headers.get(name)]));
      print('request', { tab, method: init?.method ?? 'GET', path, status: response.status, headers });
      return response;
    },
  });
  function Page() {
    const chat = useChat({
      id: chatId,
      transport,
      onData: (part) => print('data', { tab, type: part.type, data: part.data }),
      onError: (error) => print('error', { tab, name: error.name, message: error.message }),
      onFinish: ({ isAbort, isError, isDisconnect, finishReason }) => {
        page.finishes += 1;
        print('finish', { tab, isAbort, isError, isDisconnect, finishReason });
      },
    });
    page.chat = chat;
    if (page.statuses.at(-1) !== chat.status) {
      page.statuses.push(chat.status);
      print('status', { tab, status: chat.status });
    }
    useEffect(() => {
      page.mounted = true; // only now does the component hear of changes
    }, []);
    return null;
  }
  page.root = createRoot(document.body.appendChild(document.createElement('div')));
  page.root.render(createElement(Page));
  return page;
}

async function until(condition) {
  while (!condition()) await new Promise((resolve) => setTimeout(resolve, 5));
}

const textOf = (message) => message?.parts.filter((part) => part.type === 'text').map((part) => part.text).join('') ?? '';
const answerOf = (page) => textOf(page.chat.messages.findLast((message) => message.role === 'assistant'));
const settled = (page) => ['ready', 'error'].includes(page.chat.status);

/** The page's messages as they stand, ids and metadata included. */
function printMessages(page) {
  print('messages', { tab: page.tab, status: page.chat.status, messages: page.chat.messages });
}

async function send(page, text) {
  const finishes = page.finishes;
  void page.chat.sendMessage({ text });
  await until(() => page.finishes > finishes && settled(page));
  printMessages(page);
}

async function firstWords(page) {
  await until(() => answerOf(page).length > 0 || page.chat.status === 'error');
}

const SCENARIOS = {
  async text(page) {
    await send(page, values.prompt);
  },
  // A failed turn, then the same chat goes on.
  async error(page) {
    await send(page, values.prompt);
    await send(page, 'And now?');
  },
  async stop(page) {
    const finishes = page.finishes;
    void page.chat.sendMessage({ text: values.prompt });
    await firstWords(page);
    await page.chat.stop();
    await until(() => page.finishes > finishes && settled(page));
    printMessages(page);
  },
  // A second tab on the same chat while the first still listens: both must read the same answer.
  async resume(page, chatId) {
    const finishes = page.finishes;
    void page.chat.sendMessage({ text: values.prompt });
    await firstWords(page);
    const second = openPage('second', chatId);
    await until(() => second.mounted);
    await second.chat.resumeStream();
    await until(() => page.finishes > finishes && settled(page) && settled(second));
    printMessages(page);
    printMessages(second);
    // Nothing runs any more: 204, and nothing changes.
    await second.chat.resumeStream();
    await until(() => settled(second));
    printMessages(second);
  },
  async regenerate(page) {
    await send(page, values.prompt);
    const finishes = page.finishes;
    void page.chat.regenerate();
    await until(() => page.finishes > finishes && settled(page));
    printMessages(page);
  },
  async 'two-turns'(page) {
    await send(page, values.prompt);
    await send(page, 'And then?');
  },
};

if (!api || !Object.hasOwn(SCENARIOS, scenario)) {
  process.stderr.write(`usage: node usechat.mjs API ${Object.keys(SCENARIOS).join('|')} [--prompt TEXT]\n`);
  process.exit(2);
}

try {
  const chatId = `chat-${crypto.randomUUID()}`;
  const page = openPage('first', chatId);
  await until(() => page.mounted);
  await SCENARIOS[scenario](page, chatId);
  print('result', { ok: true, chatId });
  process.exit(0);
} catch (error) {
  print('result', { ok: false, error: String(error?.stack ?? error) });
  process.exit(1);
}
