/** The board's own pages, beside Bull Board's: where a person signs in, and where one job is steered. */
import { boardPathOf } from '../../ports/jobs/index.ts';
import type { Job, Wish } from '../../ports/jobs/port.ts';

/** `to`: the path that the person wanted. */
export function signInPage(to: string, why: string | undefined, scope: string): string {
  return page(
    'Sign in',
    `${why === undefined ? '' : `<p role="alert">${escaped(why)}</p>`}
    <form method="post" action="/login">
      <input type="hidden" name="to" value="${escaped(to)}">
      <label>A token with the scope <code>${escaped(scope)}</code><br>
        <input type="password" name="token" required autofocus autocomplete="off" size="60"></label>
      <button>Sign in</button>
    </form>
    <form method="post" action="/logout"><button>Sign out</button></form>`,
  );
}

const WISHES: readonly Wish[] = ['pause', 'resume', 'cancel'];

export function isWish(text: string | null): text is Wish {
  return (WISHES as readonly (string | null)[]).includes(text);
}

export function steerPage({ id, state, progress, spec, error, endedAt }: Job): string {
  const buttons =
    endedAt === undefined
      ? `<form method="post">${WISHES.map((wish) => `<button name="wish" value="${wish}">${wish}</button>`).join(' ')}</form>
    <p>A run under way notices within seconds: reload the page to see it.</p>`
      : `<p>It has ended, and runs no more.</p>`;
  return page(
    `Job ${id}`,
    `<p>State: <strong>${state}</strong>${error === undefined ? '' : `, ${escaped(error)}`}</p>
    ${buttons}
    <pre>${escaped(JSON.stringify({ spec, progress }, null, 2))}</pre>
    <p><a href="${boardPathOf(id)}">On the board</a></p>`,
  );
}

function page(title: string, body: string): string {
  return `<!doctype html>
<html lang="en">
  <head>
    <meta charset="utf-8">
    <title>${escaped(title)} · Spanway jobs</title>
    <style>body { font: 1rem/1.5 system-ui, sans-serif; max-width: 50rem; margin: 3rem auto; padding: 0 1rem } form { margin: 1rem 0 }</style>
  </head>
  <body>
    <h1>${escaped(title)}</h1>
    ${body}
  </body>
</html>
`;
}

const ENTITIES: Readonly<Record<string, string>> = { '&': '&amp;', '<': '&lt;', '>': '&gt;', '"': '&quot;', "'": '&#39;' };

function escaped(text: string): string {
  return text.replace(/[&<>"']/g, (character) => ENTITIES[character] ?? '');
}
