import { expect, it } from 'vitest';
import { html } from './html.ts';

it('a page shows what it is given as text', () => {
  const name = `<b title='"'>&`;
  expect(html`<p>${name}${undefined}${false}${html`<i>${'<'}</i>`}${[html`1`, html`2`]}</p>`.text).toBe(
    '<p>&#60;b title=&#39;&#34;&#39;&#62;&#38;<i>&#60;</i>12</p>',
  );
});
