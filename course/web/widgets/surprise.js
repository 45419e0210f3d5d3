// Chapter Loss: how surprised the model is by each token of a name, at each recorded moment of training.
Course.widget("surprise", (element, data) => {
  const make = Course.element;
  const chosen = { document: 0, moment: data.documents[0].moments.length - 1, place: 0 };
  const surprise = (prob) => -Math.log(prob);
  const percent = (prob) => `${(100 * prob).toFixed(1)} %`;
  const said = Course.say();
  const surprises = make("div");
  const places = Course.controls();
  const guesses = make("div");

  const document = () => data.documents[chosen.document];
  const moment = () => document().moments[chosen.moment];
  const label = (i) => `${i + 1}. ${document().tokens[i]} → ${document().tokens[i + 1]}`;

  function show() {
    const { probs, loss, step } = moment();
    const values = probs.map(surprise);
    const largest = Math.max(...document().moments.flatMap((one) => one.probs.map(surprise)));
    said.textContent =
      `After ${step} steps the mean of these surprises, the loss, is ${loss.toFixed(3)}: ` +
      `as unsure as among ${Math.exp(loss).toFixed(1)} equally likely tokens.`;
    surprises.replaceChildren(
      Course.bars({
        labels: values.map((_, i) => label(i)),
        values,
        others: values.map(() => data.alike),
        largest,
        marked: [label(chosen.place)],
        show: (value) => value.toFixed(2),
        caption: `Surprise in nats by each token that comes. The mark, at ${data.alike.toFixed(2)}, is that of somebody to whom all tokens are alike.`,
      }),
    );
    showGuesses();
  }

  function showGuesses() {
    const came = document().tokens[chosen.place + 1];
    const likeliest = [...moment().likeliest[chosen.place]];
    if (!likeliest.some(([token]) => token === came)) likeliest.push([came, moment().probs[chosen.place]]);
    guesses.replaceChildren(
      Course.bars({
        labels: likeliest.map(([token]) => token),
        values: likeliest.map(([, prob]) => prob),
        largest: 1,
        marked: [came],
        show: percent,
        caption: `What the model had expected after ${document().tokens.slice(0, chosen.place + 1).join(" ")}; ${came} came. A full bar would be certainty.`,
      }),
    );
  }

  function choosePlaces() {
    chosen.place = 0;
    const options = moment().probs.map((_, i) => [i, document().tokens[i + 1]]);
    const change = (place) => {
      chosen.place = place;
      show();
    };
    places.replaceChildren(Course.choice("Look closer at", options, chosen.place, change));
  }

  element.append(
    make("h3", {}, "What surprises the model?"),
    Course.controls(
      Course.choice("Name", data.documents.map(({ name }, i) => [i, name]), chosen.document, (i) => {
        chosen.document = i;
        choosePlaces();
        show();
      }),
      Course.slider(
        "Steps of training",
        { min: 0, max: document().moments.length - 1, value: chosen.moment, show: (i) => String(document().moments[i].step) },
        (i) => {
          chosen.moment = i;
          show();
        },
      ),
    ),
    said,
    surprises,
    places,
    guesses,
  );
  choosePlaces();
  show();
});
